// SPDX-License-Identifier: Apache-2.0
#include "protocol/error_json.h"

#include <nlohmann/json.hpp>

namespace braid::protocol {
namespace {

const char* type_of(const Error& error, int status) {
  switch (status) {
    case 401: return "AuthenticationError";
    case 404: return "NotFoundError";
    case 429: return "RateLimitError";
    case 501: return "NotImplementedError";
    case 503: return "ServiceUnavailableError";
    default: break;
  }
  if (status >= 500) return "InternalServerError";
  return error.param == "body" || error.param.starts_with("body.") ? "Bad Request" : "BadRequestError";
}

}  // namespace

int status_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument: return 400;
    case ErrorCode::kUnauthorized: return 401;
    case ErrorCode::kNotFound: return 404;
    case ErrorCode::kResourceExhausted: return 429;
    case ErrorCode::kUnimplemented: return 501;
    case ErrorCode::kUnavailable: return 503;
    case ErrorCode::kDeadlineExceeded: return 504;
    default: return 500;
  }
}

std::string error_body(const Error& error, int status) {
  using Json = nlohmann::ordered_json;
  const Json body = {{"error", {{"message", error.message}, {"type", type_of(error, status)},
                                {"param", error.param.empty() ? Json() : Json(error.param)}, {"code", status}}}};
  return body.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace braid::protocol
