// SPDX-License-Identifier: Apache-2.0
// How the HTTP server's parser keeps a request's body: whole, or handed on as it comes.
// Internal to the server.
#pragma once

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/optional.hpp>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace braid::net {

struct RequestBody {
  struct value_type {
    std::string text;
    std::function<void(std::string_view)> sink;  // set: `text` stays empty
  };

  class reader {
   public:
    template <bool isRequest, class Fields>
    reader(boost::beast::http::header<isRequest, Fields>&, value_type& body) : body_(body) {}
    void init(const boost::optional<std::uint64_t>&, boost::system::error_code& ec) { ec = {}; }
    template <class Buffers>
    std::size_t put(const Buffers& buffers, boost::system::error_code& ec) {
      ec = {};
      std::size_t total = 0;
      for (auto it = boost::asio::buffer_sequence_begin(buffers); it != boost::asio::buffer_sequence_end(buffers); ++it) {
        const boost::asio::const_buffer part(*it);
        const std::string_view bytes(static_cast<const char*>(part.data()), part.size());
        if (body_.sink) {
          body_.sink(bytes);
        } else {
          body_.text.append(bytes);
        }
        total += bytes.size();
      }
      return total;
    }
    void finish(boost::system::error_code& ec) { ec = {}; }

   private:
    value_type& body_;
  };
};

}  // namespace braid::net
