// SPDX-License-Identifier: Apache-2.0
// The writer that handlers get: adds headers that every answer to the request carries, knows how its
// endpoint writes errors, and counts the request as being answered for as long as somebody holds it.
// Thread rules: those of net::ResponseWriter.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "net/http_server.h"
#include "serve/in_flight.h"

namespace braid::serve {

class Reply final : public net::ResponseWriter {
 public:
  // How an endpoint writes errors.
  using ErrorBody = std::string (*)(const Error& error, int status);

  // `in_flight` null: not counted.
  Reply(InFlight* in_flight, std::vector<net::Header> headers, ErrorBody error_body, std::shared_ptr<net::ResponseWriter> writer)
      : headers_(std::move(headers)), error_body_(error_body), writer_(std::move(writer)) {
    if (in_flight != nullptr) token_.emplace(*in_flight);
  }

  std::string error_body(const Error& error, int status) const { return error_body_(error, status); }

  void send(net::Response response) override { writer_->send(with_headers(std::move(response))); }
  void early(std::vector<net::Header> headers) override { writer_->early(std::move(headers)); }
  void begin(net::Response head) override { writer_->begin(with_headers(std::move(head))); }
  void write(std::string data) override { writer_->write(std::move(data)); }
  void end() override { writer_->end(); }
  void abort() override { writer_->abort(); }
  std::size_t buffered() const override { return writer_->buffered(); }
  void on_drained(std::function<void()> callback) override { writer_->on_drained(std::move(callback)); }
  bool open() const override { return writer_->open(); }
  void on_close(std::function<void()> callback) override { writer_->on_close(std::move(callback)); }

 private:
  net::Response with_headers(net::Response response) const {
    response.headers.insert(response.headers.end(), headers_.begin(), headers_.end());
    return response;
  }

  const std::vector<net::Header> headers_;
  const ErrorBody error_body_;
  const std::shared_ptr<net::ResponseWriter> writer_;
  std::optional<InFlight::Token> token_;
};

}  // namespace braid::serve
