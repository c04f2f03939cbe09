// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/parse.h"
#include "config/reference.h"
#include "net/http_client.h"

namespace braid::app {
namespace {

using Json = nlohmann::ordered_json;

struct ChatSettings {
  std::string url = "http://localhost:8000";
  std::string model;
  std::string api_key;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("url", self.url, {.help = "Server to talk to"});
    v.field("model", self.model, {.help = "Model name; unset: the server's"});
    v.field("api-key", self.api_key, {.help = "Key, if the server wants one", .environment = "OPENAI_API_KEY"});
  }
};

// What an answer's body or a stream's event says went wrong; empty: nothing.
std::string error_in(std::string_view text) {
  const Json json = Json::parse(text.begin(), text.end(), nullptr, false);
  if (!json.is_object() || !json.contains("error")) return {};
  const Json& error = json["error"];
  return error.is_object() && error.contains("message") && error["message"].is_string() ? error["message"].get<std::string>() : error.dump();
}

// Prints what a chunk adds to the answer, and returns it.
std::string shown(std::string_view chunk) {
  const Json json = Json::parse(chunk.begin(), chunk.end(), nullptr, false);
  if (!json.is_object() || !json.contains("choices") || json["choices"].empty()) return {};
  const auto delta = json["choices"][0].value("delta", Json::object());
  if (!delta.contains("content") || !delta["content"].is_string()) return {};
  const auto text = delta["content"].get<std::string>();
  std::cout << text << std::flush;
  return text;
}

// Sends the conversation, prints the answer as it comes, and returns it.
Result<std::string> ask(net::HttpClient& client, const net::Url& url, const ChatSettings& settings, const Json& messages) {
  net::ClientRequest request;
  request.method = "POST";
  request.target = url.base + "/v1/chat/completions";
  request.body = Json{{"model", settings.model}, {"messages", messages}, {"stream", true}}.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (!settings.api_key.empty()) request.headers.push_back({"Authorization", "Bearer " + settings.api_key});
  constexpr std::size_t kMostError = 64 << 10;
  std::string answer, failure, start;
  net::SseReader events;
  const auto response = client.fetch_stream(std::move(request), [&](std::string_view bytes) {
    start.append(bytes.substr(0, kMostError - std::min(kMostError, start.size())));
    events.feed(bytes, [&](std::string_view data) {
      if (failure.empty()) failure = error_in(data);
      answer += shown(data);
    });
  });
  if (!response.ok()) return response.error().within("no answer; is braid serve running there?");
  if (response->status != 200) return internal_error("the server answered " + std::to_string(response->status) + ": " + (error_in(start).empty() ? start : error_in(start)));
  if (!failure.empty()) return internal_error("the answer broke off: " + failure);
  return answer;
}

// Reads lines until the input or the user ends; returns the exit status.
int talk(net::HttpClient& client, const net::Url& url, const ChatSettings& settings) {
  Json messages = Json::array();
  std::string line;
  int status = 0;
  std::cout << "/reset forgets the conversation, /quit ends\n> " << std::flush;
  while (std::getline(std::cin, line) && line != "/quit" && line != "/exit") {
    if (line == "/reset") {
      messages.clear();
    } else if (line.starts_with("/")) {
      std::cout << "there is no " << line << ", only /reset and /quit\n";
    } else if (!line.empty()) {
      messages.push_back({{"role", "user"}, {"content", line}});
      const auto answer = ask(client, url, settings, messages);
      std::cout << "\n" << std::flush;
      status = answer.ok() ? 0 : fail(answer.error());
      if (answer.ok()) messages.push_back({{"role", "assistant"}, {"content", *answer}});
      else messages.erase(messages.size() - 1);
    }
    std::cout << "> " << std::flush;
  }
  if (!std::cin) std::cout << "\n";
  return status;
}

}  // namespace

int chat(Words words) {
  ChatSettings settings;
  auto options = parse_options();
  options.positional_fields = {"url"};
  const auto parsed = config::parse(settings, words, options);
  if (!parsed.ok()) return fail(parsed.error());
  if (parsed->help) {
    std::puts(config::help<ChatSettings>({"braid chat [URL] [flags]",
        "Talks to a served model. /reset forgets the conversation, /quit ends.", "  braid chat http://localhost:8000\n"}).c_str());
    return 0;
  }
  const auto url = net::parse_url(settings.url);
  if (!url.ok()) return fail(url.error());
  const auto client = net::HttpClient::create(url->host, url->port, 1);
  return talk(*client, *url, settings);
}

}  // namespace braid::app
