// SPDX-License-Identifier: Apache-2.0
#include "net/resolve.h"

#include <boost/asio/ip/tcp.hpp>
#include <memory>
#include <set>
#include <utility>

namespace braid::net {

using boost::asio::ip::tcp;

void resolve(EventLoop& loop, const std::string& name, std::function<void(Result<std::vector<std::string>>)> done) {
  auto resolver = std::make_shared<tcp::resolver>(loop.io());
  resolver->async_resolve(name, "", [resolver, name, done = std::move(done)](boost::system::error_code ec, const tcp::resolver::results_type& found) {
    if (ec) return done(Error{ErrorCode::kNotFound, "can't resolve " + name + ": " + ec.message(), {}});
    std::set<std::string> addresses;
    for (const auto& entry : found) addresses.insert(entry.endpoint().address().to_string());
    done(std::vector<std::string>(addresses.begin(), addresses.end()));
  });
}

}  // namespace braid::net
