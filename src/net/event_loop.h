// SPDX-License-Identifier: Apache-2.0
// One thread that runs sockets and timers. Servers and client pools may share one, so that what
// goes from one to the other crosses no thread.
#pragma once

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <functional>
#include <string>
#include <thread>

#include "base/clock.h"

namespace braid::net {

// Thread safety: every method may be called from any thread but run_and_wait, which is not for the
// loop's own. An exception that leaves a piece of work is logged, and the loop goes on.
class EventLoop {
 public:
  explicit EventLoop(std::string thread_name);
  ~EventLoop();  // what has not begun is dropped; not on the loop's own thread
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  void post(std::function<void()> work);      // later, even when called on the loop
  void dispatch(std::function<void()> work);  // on the loop's own thread: at once
  void run_and_wait(std::function<void()> work);
  void after(Duration delay, std::function<void()> work);

  boost::asio::io_context& io() { return io_; }

 private:
  void run();

  const std::string name_;
  boost::asio::io_context io_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> guard_{io_.get_executor()};
  std::thread thread_;
};

}  // namespace braid::net
