// SPDX-License-Identifier: Apache-2.0
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <thread>

#include "app/commands.h"
#include "app/parse.h"
#include "app/top_frame.h"
#include "base/clock.h"
#include "config/reference.h"
#include "net/http_client.h"

namespace braid::app {
namespace {

constexpr int kPlainWidth = 120;  // where there is no terminal

struct TopSettings {
  std::string url = "http://localhost:8000";
  double interval = 1;
  bool once = false;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("url", self.url, {.help = "Engine or router to watch"});
    v.field("interval", self.interval, {.help = "Time between frames", .unit = "seconds", .min = 0.1, .max = 3600});
    v.field("once", self.once, {.help = "One frame, then the end"});
  }
};

int terminal_width() {
  winsize size{};
  return isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : kPlainWidth;
}

Result<metrics::Samples> fetch(net::HttpClient& client, const net::Url& url) {
  net::ClientRequest request;
  request.target = url.base + "/metrics";
  request.timeout = std::chrono::seconds(10);
  const auto answer = client.fetch(std::move(request));
  if (!answer.ok()) return answer.error().within("no metrics; is braid serve or route running there?");
  if (answer->status != 200) return internal_error("/metrics answered " + std::to_string(answer->status));
  return metrics::Samples::parse(answer->body);
}

// Over the last frame, so that nothing flickers.
void draw(const std::vector<std::string>& lines) {
  std::string text = "\033[H";
  for (const auto& line : lines) text += line + "\033[K\n";
  text += "\033[J";
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

Status watch(net::HttpClient& client, const net::Url& url, const TopSettings& settings) {
  const SteadyClock clock;
  metrics::Samples before;
  TimePoint then;
  for (bool first = true;; first = false) {
    ASSIGN_OR_RETURN(auto now, fetch(client, url));
    const TimePoint at = clock.now();
    const auto lines = top_frame(now, before, first ? 0 : to_seconds(at - then), terminal_width());
    if (settings.once) {
      for (const auto& line : lines) std::puts(line.c_str());
      return {};
    }
    if (first) std::fputs("\033[2J", stdout);
    draw(lines);
    before = std::move(now);
    then = at;
    std::this_thread::sleep_for(std::chrono::duration<double>(settings.interval));
  }
}

}  // namespace

int top(Words words) {
  TopSettings settings;
  auto options = parse_options();
  options.positional_fields = {"url"};
  const auto parsed = config::parse(settings, words, options);
  if (!parsed.ok()) return fail(parsed.error());
  if (parsed->help) {
    std::puts(config::help<TopSettings>({"braid top [URL] [flags]",
        "Shows a server's ranks as they work: queues, cache, rates, and how evenly the experts are used; of a router, where its requests go.", "  braid top http://localhost:8000\n"}).c_str());
    return 0;
  }
  const auto url = net::parse_url(settings.url);
  if (!url.ok()) return fail(url.error());
  const auto client = net::HttpClient::create(url->host, url->port, 1);
  const Status status = watch(*client, *url, settings);
  return status.ok() ? 0 : fail(status.error());
}

}  // namespace braid::app
