// SPDX-License-Identifier: Apache-2.0
// One engine that lends to this one: the connection to it, its memory, and a thread that takes, renews,
// follows, reads and releases its holds.
// Thread safety: every method from any thread.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "fabric/connection.h"
#include "transfer/borrower.h"

namespace braid::transfer {

class Peer {
 public:
  // `transport` and `memory` outlive it. `tell` is called on its thread.
  Peer(Source address, BorrowerOptions options, fabric::Transport& transport, Memory& memory, std::function<void(News)> tell);
  ~Peer();  // its holds end

  void open(FetchId fetch, Source source, std::vector<std::int32_t> prompt);
  void read(FetchId fetch, Reading reading);
  void end(FetchId fetch);
  void decline(Source source);

 private:
  struct Open {
    FetchId fetch;
    Source source;
    std::vector<std::int32_t> prompt;
  };
  struct Read {
    FetchId fetch;
    Reading reading;
  };
  struct End {
    FetchId fetch;
  };
  struct Decline {
    Source source;
  };
  struct Job {
    std::variant<Open, Read, End, Decline> what;
    TimePoint pushed;
  };
  struct Taken {
    std::string request_id;
    Grant grant;
    std::int32_t prompt = 0;         // tokens of ours
    std::optional<Reading> reading;  // once it is asked for
    bool rewound = false;            // and waits until it is whole
    bool followed() const { return reading || rewound; }
    std::int32_t done = 0;           // tokens that are here
    std::size_t bytes = 0;
    Duration spent{};
    TimePoint grew{};   // when there was more to read
    TimePoint heard{};  // when its owner last answered
  };
  // What there is while the peer is connected.
  struct Link {
    std::unique_ptr<fabric::Connection> connection;
    Welcome welcome;
    std::unique_ptr<fabric::RemoteRegion> region;
  };

  void push(std::variant<Open, Read, End, Decline> what);
  std::optional<Job> next_job();
  void run();
  void handle(const Open& job);
  void handle(const Read& job);
  void handle(const End& job);
  void handle(const Decline& job);

  // Errors for as long as jobs come that were there when it failed.
  Status connect(const std::string& incarnation);
  Result<Link> meet();
  Result<double> measure(Link& link);
  Result<fabric::Frame> ask(const Open& job);
  Result<Grant> take(const Open& job);
  // Reads what can be read of a fetch; of one that grows, again whenever there may be more.
  void follow_all();
  void follow(FetchId fetch);
  Status catch_up(FetchId fetch, Taken& taken);
  Status receive(FetchId fetch, Taken& taken, std::int32_t end);
  // Whether the hold is as it was granted.
  Result<bool> unchanged(const Taken& taken);
  Status take_again(Taken& taken);
  void schedule_look();
  void wait_for(FetchId fetch, Taken& taken);
  void grant(FetchId fetch, const Taken& taken);
  void end_read(FetchId fetch, News news);
  Status transfer(fabric::RemoteRegion& from, std::vector<fabric::Piece> pieces);
  bool unwanted(FetchId fetch);
  bool stopping();
  Status renew();
  void release(const std::string& request_id);
  void lose(const std::string& reason);
  void fail(FetchId fetch, const std::string& error);
  std::string sentence(const Error& error) const;

  const Source address_;
  const BorrowerOptions options_;
  fabric::Transport& transport_;
  Memory& memory_;
  const std::function<void(News)> tell_;

  // Of the thread:
  std::optional<Link> link_;
  Error failure_;             // of the last attempt to connect
  TimePoint failed_at_{};
  TimePoint pushed_{};        // when the job at hand came
  std::unique_ptr<fabric::Region> scratch_;  // where generations are read to, and what is read to measure
  std::map<FetchId, Taken> taken_;
  TimePoint next_renewal_ = TimePoint::max();
  TimePoint next_look_ = TimePoint::max();  // at what is followed

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  std::set<FetchId> ended_;  // by end(), before its turn comes
  bool stopping_ = false;

  std::thread thread_;  // last: it uses all of the above
};

}  // namespace braid::transfer
