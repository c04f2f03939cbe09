// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/parse.h"
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

// Sends the conversation, prints the answer as it comes, and returns it.
Result<std::string> ask(net::HttpClient& client, const net::Url& url, const ChatSettings& settings, const Json& messages) {
  net::ClientRequest request;
  request.method = "POST";
  request.target = url.base + "/v1/chat/completions";
  request.body = Json{{"model", settings.model}, {"messages", messages}, {"stream", true}}.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (!settings.api_key.empty()) request.headers.push_back({"Authorization", "Bearer " + settings.api_key});
  std::string answer;
  net::SseReader events;
  auto response = client.fetch_stream(std::move(request), [&](std::string_view bytes) {
    events.feed(bytes, [&](std::string_view data) {
      const Json chunk = Json::parse(data.begin(), data.end(), nullptr, false);
      if (!chunk.is_object() || !chunk.contains("choices") || chunk["choices"].empty()) return;
      const auto delta = chunk["choices"][0].value("delta", Json::object());
      if (!delta.contains("content") || !delta["content"].is_string()) return;
      const auto text = delta["content"].get<std::string>();
      std::cout << text << std::flush;
      answer += text;
    });
  });
  if (!response.ok()) return response.error();
  if (response->status != 200) return internal_error("the server answered " + std::to_string(response->status) + " " + response->body);
  return answer;
}

}  // namespace

int chat(Words words) {
  ChatSettings settings;
  auto options = parse_options();
  options.positional_fields = {"url"};
  const auto parsed = config::parse(settings, words, options);
  if (!parsed.ok()) return fail(parsed.error());
  if (parsed->help) {
    std::puts("usage: braid chat [URL] [--model NAME] [--api-key KEY]\n\nTalks to a served model. /reset forgets the conversation, /quit ends.");
    return 0;
  }
  const auto url = net::parse_url(settings.url);
  if (!url.ok()) return fail(url.error());
  const auto client = net::HttpClient::create(url->host, url->port, 1);
  Json messages = Json::array();
  std::string line;
  std::cout << "/reset forgets the conversation, /quit ends\n> " << std::flush;
  while (std::getline(std::cin, line)) {
    if (line == "/quit" || line == "/exit") break;
    if (line == "/reset") messages = Json::array();
    if (!line.empty() && line[0] != '/') {
      messages.push_back({{"role", "user"}, {"content", line}});
      const auto answer = ask(*client, *url, settings, messages);
      if (answer.ok()) {
        messages.push_back({{"role", "assistant"}, {"content", *answer}});
      } else {
        std::cout << "[" << answer.error().message << "]";
        messages.erase(messages.size() - 1);
      }
      std::cout << "\n";
    }
    std::cout << "> " << std::flush;
  }
  return 0;
}

}  // namespace braid::app
