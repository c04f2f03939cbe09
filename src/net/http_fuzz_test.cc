// SPDX-License-Identifier: Apache-2.0
// A fixed number of mutated byte streams: none may crash the server or make it deaf.
#include <gtest/gtest.h>

#include <random>

#include "net/http_server.h"
#include "net/test_socket.h"

namespace braid::net {
namespace {

std::string mutate(std::string bytes, std::mt19937& random) {
  int edits = 1 + static_cast<int>(random() % 4);
  for (int i = 0; i < edits && !bytes.empty(); ++i) {
    std::size_t at = random() % bytes.size();
    switch (random() % 4) {
      case 0: bytes[at] = static_cast<char>(random()); break;
      case 1: bytes.erase(at, 1 + random() % 8); break;
      case 2: bytes.insert(at, bytes.substr(random() % bytes.size(), random() % 16)); break;
      case 3: bytes.insert(at, 1, "\r\n\0 :"[random() % 5]); break;
    }
  }
  return bytes;
}

TEST(HttpFuzz, MutatedStreamsLeaveTheServerAnswering) {
  auto server = HttpServer::listen({}, [](Request&& r, std::shared_ptr<ResponseWriter> w) {
    w->send({.body = std::move(r.body)});
  });
  ASSERT_TRUE(server.ok());
  const std::string seeds[] = {
      "POST /v1/x HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello",
      "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nt: v\r\n\r\n",
      "GET /a HTTP/1.1\r\nhost: a\r\n\r\nGET /b HTTP/1.1\r\nexpect: 100-continue\r\n\r\n",
  };
  std::mt19937 random(7);
  for (int i = 0; i < 3000; ++i) {
    TestSocket socket((*server)->port());
    socket.send(mutate(seeds[random() % 3], random));
    socket.half_close();
    if (i % 2 == 0) socket.read_all();
  }
  TestSocket socket((*server)->port());
  socket.send(seeds[0]);
  EXPECT_NE(socket.read_until("hello").find("200 OK"), std::string::npos);
}

}  // namespace
}  // namespace braid::net
