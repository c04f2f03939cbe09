// SPDX-License-Identifier: Apache-2.0
#include "extproc/wire.h"

#include "envoy/service/ext_proc/v3/external_processor.pb.h"

namespace braid::extproc {
namespace {

namespace core = ::envoy::config::core::v3;
using google::protobuf::Struct;
using google::protobuf::Value;

void read_headers(const core::HeaderMap& map, Headers& headers) {
  headers.reserve(static_cast<std::size_t>(map.headers_size()));
  for (const core::HeaderValue& h : map.headers()) headers.emplace_back(h.key(), h.raw_value().empty() ? h.value() : h.raw_value());
}

void write_headers(Headers headers, core::HeaderMap& map) {
  for (auto& [name, value] : headers) {
    core::HeaderValue& h = *map.add_headers();
    h.set_key(std::move(name));
    h.set_raw_value(std::move(value));
  }
}

std::vector<std::string> values_of(const Value& value) {
  if (value.kind_case() == Value::kStringValue) return {value.string_value()};
  std::vector<std::string> values;
  for (const Value& each : value.list_value().values()) {
    if (each.kind_case() == Value::kStringValue) values.push_back(each.string_value());
  }
  return values;
}

Value to_value(const std::vector<std::string>& values) {
  Value value;
  if (values.size() == 1) {
    value.set_string_value(values.front());
    return value;
  }
  for (const std::string& each : values) value.mutable_list_value()->add_values()->set_string_value(each);
  return value;
}

void read_struct(const std::string& space, const Struct& fields, std::vector<Metadata>& metadata) {
  for (const auto& [key, value] : fields.fields()) {
    if (auto values = values_of(value); !values.empty()) metadata.push_back({space, key, std::move(values)});
  }
}

Status check_modes(const wire::ProtocolConfiguration& config) {
  using Mode = wire::ProtocolConfiguration;
  const auto wrong = [](const char* field, Mode::BodySendMode mode) {
    return invalid_argument(std::string("processing_mode.") + field + " is " + Mode::BodySendMode_Name(mode) +
                            "; set it to FULL_DUPLEX_STREAMED in Envoy's ext_proc filter");
  };
  if (config.request_body_mode() != Mode::FULL_DUPLEX_STREAMED) return wrong("request_body_mode", config.request_body_mode());
  const bool response_ok = config.response_body_mode() == Mode::FULL_DUPLEX_STREAMED || config.response_body_mode() == Mode::NONE;
  return response_ok ? Status() : wrong("response_body_mode", config.response_body_mode());
}

void write_mutation(Headers set, const std::vector<std::string>& remove, wire::HeaderMutation& mutation) {
  for (auto& [name, value] : set) {
    core::HeaderValueOption& option = *mutation.add_set_headers();
    option.set_append_action(core::HeaderValueOption::OVERWRITE_IF_EXISTS_OR_ADD);
    option.mutable_header()->set_key(std::move(name));
    option.mutable_header()->set_raw_value(std::move(value));
  }
  for (const std::string& name : remove) mutation.add_remove_headers(name);
}

void read_mutation(const wire::HeaderMutation& mutation, Headers& set, std::vector<std::string>& remove) {
  for (const core::HeaderValueOption& option : mutation.set_headers()) set.emplace_back(option.header().key(), option.header().raw_value());
  remove.assign(mutation.remove_headers().begin(), mutation.remove_headers().end());
}

void write_common(Reply& reply, wire::CommonResponse& common, bool body) {
  if (!reply.set.empty() || !reply.remove.empty()) write_mutation(std::move(reply.set), reply.remove, *common.mutable_header_mutation());
  common.set_clear_route_cache(reply.route_again);
  if (!body) return;
  wire::StreamedBodyResponse& piece = *common.mutable_body_mutation()->mutable_streamed_response();
  piece.set_body(std::move(reply.body));
  piece.set_end_of_stream(reply.end);
}

void read_common(const wire::CommonResponse& common, Reply& reply) {
  read_mutation(common.header_mutation(), reply.set, reply.remove);
  reply.route_again = common.clear_route_cache();
  reply.body = common.body_mutation().streamed_response().body();
  reply.end = common.body_mutation().streamed_response().end_of_stream();
}

}  // namespace

Result<Message> from_wire(wire::ProcessingRequest& request) {
  using Wire = wire::ProcessingRequest;
  if (request.has_protocol_config()) RETURN_IF_ERROR(check_modes(request.protocol_config()));
  Message message;
  const auto take_headers = [&](Part part, const wire::HttpHeaders& headers) {
    message.part = part;
    message.end = headers.end_of_stream();
    read_headers(headers.headers(), message.headers);
  };
  const auto take_body = [&](Part part, wire::HttpBody& body) {
    message.part = part;
    message.end = body.end_of_stream();
    message.body = std::move(*body.mutable_body());
  };
  const auto take_trailers = [&](Part part, const wire::HttpTrailers& trailers) {
    message.part = part;
    message.end = true;
    read_headers(trailers.trailers(), message.headers);
  };
  switch (request.request_case()) {
    case Wire::kRequestHeaders: take_headers(Part::kRequestHeaders, request.request_headers()); break;
    case Wire::kResponseHeaders: take_headers(Part::kResponseHeaders, request.response_headers()); break;
    case Wire::kRequestBody: take_body(Part::kRequestBody, *request.mutable_request_body()); break;
    case Wire::kResponseBody: take_body(Part::kResponseBody, *request.mutable_response_body()); break;
    case Wire::kRequestTrailers: take_trailers(Part::kRequestTrailers, request.request_trailers()); break;
    case Wire::kResponseTrailers: take_trailers(Part::kResponseTrailers, request.response_trailers()); break;
    case Wire::REQUEST_NOT_SET: return invalid_argument("a message of ext_proc has none of the known parts");
  }
  for (const auto& [space, fields] : request.metadata_context().filter_metadata()) read_struct(space, fields, message.metadata);
  return message;
}

void to_wire(Message message, wire::ProcessingRequest& request) {
  const auto headers = [&](wire::HttpHeaders& into) {
    into.set_end_of_stream(message.end);
    write_headers(std::move(message.headers), *into.mutable_headers());
  };
  const auto body = [&](wire::HttpBody& into) {
    into.set_end_of_stream(message.end);
    into.set_body(std::move(message.body));
  };
  const auto trailers = [&](wire::HttpTrailers& into) { write_headers(std::move(message.headers), *into.mutable_trailers()); };
  switch (message.part) {
    case Part::kRequestHeaders: headers(*request.mutable_request_headers()); break;
    case Part::kResponseHeaders: headers(*request.mutable_response_headers()); break;
    case Part::kRequestBody: body(*request.mutable_request_body()); break;
    case Part::kResponseBody: body(*request.mutable_response_body()); break;
    case Part::kRequestTrailers: trailers(*request.mutable_request_trailers()); break;
    case Part::kResponseTrailers: trailers(*request.mutable_response_trailers()); break;
  }
  for (const Metadata& each : message.metadata) {
    Struct& space = (*request.mutable_metadata_context()->mutable_filter_metadata())[each.space];
    (*space.mutable_fields())[each.key] = to_value(each.values);
  }
}

void to_wire(Reply reply, wire::ProcessingResponse& response) {
  for (const Metadata& each : reply.metadata) {
    Value& space = (*response.mutable_dynamic_metadata()->mutable_fields())[each.space];
    (*space.mutable_struct_value()->mutable_fields())[each.key] = to_value(each.values);
  }
  switch (reply.part) {
    case Part::kRequestHeaders: return write_common(reply, *response.mutable_request_headers()->mutable_response(), false);
    case Part::kResponseHeaders: return write_common(reply, *response.mutable_response_headers()->mutable_response(), false);
    case Part::kRequestBody: return write_common(reply, *response.mutable_request_body()->mutable_response(), true);
    case Part::kResponseBody: return write_common(reply, *response.mutable_response_body()->mutable_response(), true);
    case Part::kRequestTrailers:
      return write_mutation(std::move(reply.set), reply.remove, *response.mutable_request_trailers()->mutable_header_mutation());
    case Part::kResponseTrailers:
      return write_mutation(std::move(reply.set), reply.remove, *response.mutable_response_trailers()->mutable_header_mutation());
  }
}

void to_wire(Answer answer, wire::ProcessingResponse& response) {
  wire::ImmediateResponse& wire = *response.mutable_immediate_response();
  wire.mutable_status()->set_code(answer.status);
  write_mutation(std::move(answer.headers), {}, *wire.mutable_headers());
  wire.set_body(std::move(answer.body));
  wire.set_details(std::move(answer.details));
}

Told from_wire(wire::ProcessingResponse& response) {
  using Wire = wire::ProcessingResponse;
  Told told;
  const auto take = [&](Part part, const wire::CommonResponse& common) {
    told.reply.part = part;
    read_common(common, told.reply);
  };
  const auto take_trailers = [&](Part part, const wire::HeaderMutation& mutation) {
    told.reply.part = part;
    read_mutation(mutation, told.reply.set, told.reply.remove);
  };
  switch (response.response_case()) {
    case Wire::kRequestHeaders: take(Part::kRequestHeaders, response.request_headers().response()); break;
    case Wire::kResponseHeaders: take(Part::kResponseHeaders, response.response_headers().response()); break;
    case Wire::kRequestBody: take(Part::kRequestBody, response.request_body().response()); break;
    case Wire::kResponseBody: take(Part::kResponseBody, response.response_body().response()); break;
    case Wire::kRequestTrailers: take_trailers(Part::kRequestTrailers, response.request_trailers().header_mutation()); break;
    case Wire::kResponseTrailers: take_trailers(Part::kResponseTrailers, response.response_trailers().header_mutation()); break;
    case Wire::kImmediateResponse:
    case Wire::RESPONSE_NOT_SET: {
      told.is_answer = true;
      const wire::ImmediateResponse& wire = response.immediate_response();
      std::vector<std::string> none;
      told.answer = {wire.status().code(), {}, wire.body(), wire.details()};
      read_mutation(wire.headers(), told.answer.headers, none);
      break;
    }
  }
  for (const auto& [space, fields] : response.dynamic_metadata().fields()) read_struct(space, fields.struct_value(), told.reply.metadata);
  return told;
}

}  // namespace braid::extproc
