// SPDX-License-Identifier: Apache-2.0
// The objects of one kind in one namespace, as the API server has them: listed once, then watched from
// that version on. A watch that ends goes on where it was; one that is too late for that (410 Gone)
// lists anew; what fails is tried again after pauses that double up to half a minute.
// Thread rules: the event loop's thread only.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "kubernetes/api_call.h"

namespace braid::kubernetes {

class Collection {
 public:
  using Objects = std::map<std::string, std::string>;  // name -> JSON
  struct Options {
    std::string path;    // "/api/v1/namespaces/ns/pods"
    std::string labels;  // "a=b,c=d"; empty: all
    std::string name;    // only this one; empty: all
    Duration first_pause = std::chrono::milliseconds(200);
    Duration longest_pause = std::chrono::seconds(30);
    Duration watch_time = std::chrono::seconds(60);  // after which a watch begins anew
  };
  struct Hooks {
    std::function<void(const Objects& objects)> on_change;  // after the list, and after changes
    std::function<void(const Error& error)> on_trouble;     // what was held stays
  };

  Collection(net::EventLoop& loop, const ApiServer& server, Options options, Hooks hooks);
  ~Collection() { *alive_ = false; }

  // Listed at least once. A kind that the server does not know counts as an empty list.
  bool known() const { return known_; }
  const std::string& path() const { return options_.path; }

 private:
  void list(const std::string& from_page);
  void on_list(int status, const std::string& body);
  void watch();
  void on_watch_data(std::string_view data);
  void on_event(std::string_view line);
  void on_watch_end(const Status& status);
  void again(bool list_anew, const std::optional<Error>& trouble);
  std::string query() const;

  net::EventLoop& loop_;
  const ApiServer server_;
  const Options options_;
  const Hooks hooks_;
  Objects objects_;
  Objects listing_;  // pages so far
  std::string version_;
  bool known_ = false;
  Duration pause_;
  std::unique_ptr<ApiCall> call_;
  int status_ = 0;
  std::string body_;  // of the list, or the watch's line that is not whole yet
  bool gone_ = false;
  bool changed_ = false;
  bool progress_ = false;  // the running watch has told something
  TimePoint watching_since_{};
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace braid::kubernetes
