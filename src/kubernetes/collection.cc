// SPDX-License-Identifier: Apache-2.0
#include "kubernetes/collection.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <utility>

namespace braid::kubernetes {
namespace {

using Json = nlohmann::json;

constexpr Duration kListTime = std::chrono::seconds(30);
constexpr Duration kGrace = std::chrono::seconds(30);  // for a watch that should have ended
constexpr std::size_t kLongestBody = 256u << 20;
constexpr const char* kPage = "500";

std::string escaped(std::string_view text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0 || c == '-' || c == '_' || c == '.' || c == '~') {
      out.push_back(c);
    } else {
      out.append({'%', kHex[byte >> 4], kHex[byte & 15]});
    }
  }
  return out;
}

std::string text_at(const Json& object, const char* outer, const char* key) {
  const auto metadata = object.find(outer);
  if (metadata == object.end() || !metadata->is_object()) return {};
  const auto found = metadata->find(key);
  return found != metadata->end() && found->is_string() ? found->get<std::string>() : std::string();
}

Error answered(const std::string& path, int status, const std::string& body) {
  const Json json = Json::parse(body, nullptr, false);
  const std::string message = json.is_object() ? json.value("message", "") : "";
  std::string text = "the API server answered " + std::to_string(status) + " for " + path;
  if (!message.empty()) text += ": " + message;
  if (status == 401 || status == 403) text += "; the account needs get, list and watch for it";
  return {ErrorCode::kUnavailable, text, {}};
}

}  // namespace

Collection::Collection(net::EventLoop& loop, const ApiServer& server, Options options, Hooks hooks)
    : loop_(loop), server_(server), options_(std::move(options)), hooks_(std::move(hooks)), pause_(options_.first_pause) {
  list("");
}

std::string Collection::query() const {
  std::string query = "?";
  if (!options_.labels.empty()) query += "labelSelector=" + escaped(options_.labels) + "&";
  if (!options_.name.empty()) query += "fieldSelector=" + escaped("metadata.name=" + options_.name) + "&";
  return query;
}

void Collection::list(const std::string& from_page) {
  if (from_page.empty()) listing_.clear();
  body_.clear();
  const std::string target = options_.path + query() + "limit=" + kPage + (from_page.empty() ? "" : "&continue=" + escaped(from_page));
  call_ = ApiCall::start(loop_, server_, {.target = target}, kListTime,
                       {.on_head = [this](int status) { status_ = status; },
                        .on_data = [this](std::string_view data) {
                          if (body_.size() + data.size() <= kLongestBody) body_ += data;
                        },
                        .on_done = [this](Status status) {
                          if (!status.ok()) return again(true, status.error());
                          on_list(status_, body_);
                        }});
}

void Collection::on_list(int status, const std::string& body) {
  if (status == 410) return again(true, std::nullopt);
  if (status != 200 && status != 404) return again(true, answered(options_.path, status, body));
  if (status == 404) {
    const bool news = !std::exchange(known_, true) || !objects_.empty();
    if (news) hooks_.on_change(objects_ = {});
    pause_ = options_.longest_pause;
    return again(true, std::nullopt);
  }
  Json json = Json::parse(body, nullptr, false);
  if (!json.is_object() || !json.contains("items")) {
    return again(true, Error{ErrorCode::kUnavailable, "the API server's list of " + options_.path + " is no list", {}});
  }
  for (const Json& item : json["items"]) listing_[text_at(item, "metadata", "name")] = item.dump();
  const std::string next = text_at(json, "metadata", "continue");
  if (!next.empty()) return list(next);
  known_ = true;
  version_ = text_at(json, "metadata", "resourceVersion");
  objects_ = std::exchange(listing_, {});
  hooks_.on_change(objects_);
  watch();
}

void Collection::watch() {
  body_.clear();
  gone_ = changed_ = progress_ = false;
  watching_since_ = std::chrono::steady_clock::now();
  const auto seconds = std::max<std::int64_t>(1, std::chrono::duration_cast<std::chrono::seconds>(options_.watch_time).count());
  const std::string target = options_.path + query() + "watch=1&allowWatchBookmarks=true&resourceVersion=" + escaped(version_) +
                             "&timeoutSeconds=" + std::to_string(seconds);
  call_ = ApiCall::start(loop_, server_, {.target = target}, options_.watch_time + kGrace,
                       {.on_head = [this](int status) { status_ = status; },
                        .on_data = [this](std::string_view data) { on_watch_data(data); },
                        .on_done = [this](Status status) { on_watch_end(status); }});
}

void Collection::on_watch_data(std::string_view data) {
  gone_ = gone_ || body_.size() + data.size() > kLongestBody;
  if (gone_) return;
  body_ += data;
  if (status_ != 200) return;
  std::size_t at = 0;
  for (std::size_t end = body_.find('\n'); end != body_.npos; end = body_.find('\n', at)) {
    on_event(std::string_view(body_).substr(at, end - at));
    at = end + 1;
  }
  body_.erase(0, at);
  if (std::exchange(changed_, false)) hooks_.on_change(objects_);
}

void Collection::on_event(std::string_view line) {
  const Json event = Json::parse(line, nullptr, false);
  if (!event.is_object() || !event.contains("object") || !event["object"].is_object()) return;
  const std::string type = event.value("type", "");
  const Json& object = event["object"];
  if (type == "ERROR") {
    gone_ = gone_ || object.value("code", 0) == 410;
    return;
  }
  progress_ = true;
  pause_ = options_.first_pause;
  if (const std::string version = text_at(object, "metadata", "resourceVersion"); !version.empty()) version_ = version;
  if (type == "BOOKMARK") return;
  const std::string name = text_at(object, "metadata", "name");
  changed_ = true;
  if (type == "DELETED") objects_.erase(name);
  else objects_[name] = object.dump();
}

void Collection::on_watch_end(const Status& status) {
  if (gone_ || status_ == 410) return again(true, std::nullopt);
  if (!status.ok()) return again(false, status.error());
  if (status_ != 200) return again(true, answered(options_.path, status_, body_));
  if (progress_ || std::chrono::steady_clock::now() - watching_since_ > options_.longest_pause) return watch();
  again(false, std::nullopt);
}

void Collection::again(bool list_anew, const std::optional<Error>& trouble) {
  call_.reset();
  if (trouble) hooks_.on_trouble(*trouble);
  const Duration pause = pause_;
  pause_ = std::min(pause_ * 2, options_.longest_pause);
  loop_.after(pause, [this, alive = alive_, list_anew] {
    if (!*alive) return;
    if (list_anew) list("");
    else watch();
  });
}

}  // namespace braid::kubernetes
