// SPDX-License-Identifier: Apache-2.0
// One UCX worker with a thread that moves it on whenever the network has something to say, and sleeps
// otherwise. UCX is called by one thread at a time: whoever holds lock().
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "transport/ucx/library.h"
#include "transport/ucx/message.h"

namespace braid::transport::ucx {

// A connection to another worker.
struct Endpoint {
  std::uint64_t peer = 0;  // its transport
  std::string label;       // of the peer, for messages
  ucp_ep_h ep = nullptr;
  std::size_t in_flight = 0;                     // bytes of messages not yet sent
  int users = 0;                                 // handles of its regions here
  int attached = 0;                              // handles there of regions here
  std::atomic<bool> failed{false};               // for good
  std::atomic<TimePoint> heard{TimePoint::min()};
  TimePoint used;  // last seen with users, here or there
};

class Worker {
 public:
  using Lock = std::unique_lock<std::mutex>;
  struct Events {
    std::function<void(const Head&, std::span<const std::byte>)> message;
    std::function<void()> tick;
    // A message comes by rendezvous: where its payload goes, null: nowhere. Then, when it is there or failed.
    std::function<std::byte*(const Head&, std::size_t bytes)> place;
    std::function<void(const Head&, bool good)> placed;
    std::function<void()> sent;  // of a message that did not leave at once
  };

  // `events` are called under the lock, tick about every `every`; none of them may send, all may defer().
  static Result<std::unique_ptr<Worker>> create(const std::string& devices, Duration every, Events events);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  const Library& library() const { return library_; }
  ucp_context_h context() const { return context_; }
  const std::string& address() const { return address_; }
  Lock lock() { return Lock(mutex_); }

  // All below: under the lock.
  Result<std::shared_ptr<Endpoint>> connect(std::uint64_t peer, const std::string& label, const std::string& address);
  // Sends in the background; a failure shows in the endpoint.
  void send(const std::shared_ptr<Endpoint>& to, const Head& head, std::string payload);
  // The same by rendezvous, from memory that stays as it is until `done`, which is called whatever happens.
  void lend(const std::shared_ptr<Endpoint>& to, const Head& head, std::span<const std::byte> memory, std::function<void()> done);
  void close(std::shared_ptr<Endpoint> endpoint);
  // Runs `task` under the lock when the present event is over.
  void defer(std::function<void()> task) { tasks_.push_back(std::move(task)); }
  void progress();
  // Sleeps, releasing the lock, until done() or `until`. Asked after every event and wake().
  bool wait(Lock& lock, const std::function<bool()>& done, TimePoint until) { return changed_.wait_until(lock, until, done); }
  void wake() { changed_.notify_all(); }
  // The thread must look again: something was posted that needs it.
  void nudge() { library_.worker_signal(worker_); }

  Error failure(const std::string& what, ucs_status_t status) const {
    return {ErrorCode::kUnavailable, what + ": " + library_.status_text(status), {}};
  }

 private:
  Worker(const Library& library, Duration every, Events events) : library_(library), every_(every), events_(std::move(events)) {}
  Status open(const std::string& devices);
  void run();
  bool step();
  bool move();
  void sleep(TimePoint until);
  struct Sending;
  void post(std::unique_ptr<Sending> sending, std::span<const std::byte> payload, unsigned flags);
  void receive(const Head& head, void* offered, std::byte* to, std::size_t bytes);
  static void sent(void* request, ucs_status_t status, void* of);
  static void received(void* request, ucs_status_t status, std::size_t bytes, void* of);
  static ucs_status_t arrived(void* of, const void* header, std::size_t header_bytes, void* data, std::size_t bytes, const ucp_am_recv_param_t* param);
  void finish_closing(TimePoint until);

  const Library& library_;
  const Duration every_;
  const Events events_;
  ucp_context_h context_ = nullptr;
  ucp_worker_h worker_ = nullptr;
  std::string address_;
  int event_fd_ = -1;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::function<void()>> tasks_;
  struct Closing {
    std::shared_ptr<Endpoint> endpoint;
    void* request;
  };
  std::list<Closing> closing_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace braid::transport::ucx
