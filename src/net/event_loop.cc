// SPDX-License-Identifier: Apache-2.0
#include "net/event_loop.h"

#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <future>
#include <memory>
#include <utility>

#include "base/log.h"
#include "base/thread_name.h"

namespace braid::net {

namespace asio = boost::asio;

EventLoop::EventLoop(std::string thread_name) : name_(std::move(thread_name)), thread_([this] { run(); }) {}

EventLoop::~EventLoop() {
  asio::post(io_, [this] { io_.stop(); });
  thread_.join();
}

void EventLoop::run() {
  name_this_thread(name_.c_str());
  for (;;) {
    try {
      io_.run();
      return;
    } catch (const std::exception& e) {
      log_error("a callback of the event loop failed", {{"loop", name_}, {"why", e.what()}});
    }
  }
}

void EventLoop::post(std::function<void()> work) { asio::post(io_, std::move(work)); }

void EventLoop::dispatch(std::function<void()> work) { asio::dispatch(io_, std::move(work)); }

void EventLoop::run_and_wait(std::function<void()> work) {
  std::promise<void> done;
  asio::post(io_, [&] {
    work();
    done.set_value();
  });
  done.get_future().wait();
}

void EventLoop::after(Duration delay, std::function<void()> work) {
  dispatch([this, delay, work = std::move(work)]() mutable {
    auto timer = std::make_shared<asio::steady_timer>(io_);
    timer->expires_after(std::chrono::duration_cast<asio::steady_timer::duration>(delay));
    timer->async_wait([timer, work = std::move(work)](boost::system::error_code ec) {
      if (!ec) work();
    });
  });
}

}  // namespace braid::net
