// SPDX-License-Identifier: Apache-2.0
// Result<T>: a value or an Error, for anything that a user, peer, file or device can cause.
// Broken invariants of our own use CHECK (base/check.h). No exception crosses a layer's interface.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "base/check.h"

namespace braid {

enum class ErrorCode {
  kInvalidArgument,    // the caller's value is wrong; HTTP 400
  kNotFound,           // HTTP 404
  kUnauthorized,       // HTTP 401
  kResourceExhausted,  // a bounded queue or pool is full; HTTP 429
  kUnavailable,        // not ready, or shutting down; HTTP 503
  kDeadlineExceeded,
  kUnimplemented,      // HTTP 501
  kCancelled,
  kInternal,           // HTTP 500
};

const char* name_of(ErrorCode code);

// `message` is one sentence that names the thing, the value and what to do.
// `param` names the offending request field or flag, or is empty.
struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;
  std::string param;

  // The same error with "context: " in front of its message.
  Error within(const std::string& context) const { return {code, context + ": " + message, param}; }
};

inline Error invalid_argument(std::string message, std::string param = {}) {
  return {ErrorCode::kInvalidArgument, std::move(message), std::move(param)};
}
inline Error internal_error(std::string message) {
  return {ErrorCode::kInternal, std::move(message), {}};
}

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  // REQUIRES: ok().
  T& value() & {
    CHECK(ok(), error_message());
    return std::get<0>(state_);
  }
  const T& value() const& {
    CHECK(ok(), error_message());
    return std::get<0>(state_);
  }
  T&& value() && {
    CHECK(ok(), error_message());
    return std::get<0>(std::move(state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  // REQUIRES: !ok().
  const Error& error() const { return std::get<1>(state_); }

 private:
  std::string error_message() const { return ok() ? std::string() : error().message; }

  std::variant<T, Error> state_;
};

// Success or an Error.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Error error) : error_(std::move(error)) {}
  static Status success() { return {}; }

  bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  const Error& error() const { return *error_; }

 private:
  std::optional<Error> error_;
};

// Returns the error of `expr` from the enclosing function, if there is one.
#define RETURN_IF_ERROR(expr)                                   \
  do {                                                          \
    if (auto status_ = (expr); !status_.ok()) return status_.error(); \
  } while (false)

#define BRAID_CONCAT_(a, b) a##b
#define BRAID_CONCAT(a, b) BRAID_CONCAT_(a, b)
// ASSIGN_OR_RETURN(auto x, f()): declares x from f()'s value or returns its error.
#define ASSIGN_OR_RETURN(declaration, expr)                     \
  auto BRAID_CONCAT(result_, __LINE__) = (expr);                \
  if (!BRAID_CONCAT(result_, __LINE__).ok()) {                  \
    return BRAID_CONCAT(result_, __LINE__).error();             \
  }                                                             \
  declaration = std::move(BRAID_CONCAT(result_, __LINE__)).value()

}  // namespace braid
