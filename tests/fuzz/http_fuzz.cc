// SPDX-License-Identifier: Apache-2.0
// Any bytes on a connection: the server answers what it can, and then closes. The first byte says
// in pieces of how many bytes the others are sent (0: all at once).
#include "require.h"
#include "net/http_server.h"
#include "net/test_socket.h"

namespace {

using namespace braid::net;

// Answers at once, or as a stream, or not at all.
void handle(Request&& request, const std::shared_ptr<ResponseWriter>& writer) {
  if (request.path() == "/none") return;
  if (request.path() != "/stream") return writer->send({.headers = request.headers, .body = std::move(request.body)});
  writer->begin({.content_type = std::string(request.header("content-type"))});
  writer->write(std::string(request.query()));
  writer->write(request.body);
  writer->end();
}

HttpServer& server() {
  static const auto started = HttpServer::listen({.max_body_bytes = 4096, .max_header_bytes = 1024, .max_headers = 8}, handle);
  require(started.ok(), "the server listens");
  return **started;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  const std::size_t piece = data[0] ? data[0] : bytes.size();
  TestSocket socket(server().port());
  require(socket.connected(), "the server accepts");
  for (std::size_t at = 0; at < bytes.size(); at += piece) socket.send(bytes.substr(at, piece));
  socket.half_close();
  const std::string answer = socket.read_all();
  require(socket.ended(), "the server closes");
  require(answer.empty() || answer.starts_with("HTTP/1.1 "), "an answer is HTTP");
  return 0;
}
