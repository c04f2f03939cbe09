// SPDX-License-Identifier: Apache-2.0
// HTTP/1.1 messages as plain data.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace braid::net {

struct Header {
  std::string name;
  std::string value;
};

// The value of the first header called `name` (case does not matter), or an empty view.
std::string_view find_header(const std::vector<Header>& headers, std::string_view name);

class BodyReader;  // http_server.h

struct Request {
  std::string method;  // "GET"; a HEAD request arrives as "GET" and its body is left out on the wire
  std::string target;  // as sent: path and query
  std::vector<Header> headers;
  std::string body;
  std::shared_ptr<BodyReader> stream;  // set: the body comes through it, and `body` is empty
  std::string peer;  // the client's address

  std::string_view path() const;   // target up to '?'
  std::string_view query() const;  // after '?', or empty
  std::string_view header(std::string_view name) const { return find_header(headers, name); }
};

struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<Header> headers;  // beside content-type, content-length, connection and date
  std::string body;
};

std::string_view reason_of(int status);  // "Not Found"

struct HeadOptions {
  bool keep_alive = true;
  bool chunked = false;      // a stream in chunked encoding
  bool until_close = false;  // a stream that the end of the connection ends (HTTP/1.0)
};

// Status line and headers with the empty line that ends them. Line breaks in values are dropped.
std::string format_head(const Response& response, const HeadOptions& options);

// Appends `data` as one chunk of the chunked encoding. `data` must not be empty.
void append_chunk(std::string& out, std::string_view data);

}  // namespace braid::net
