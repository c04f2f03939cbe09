// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <deque>
#include <mutex>
#include <nlohmann/json.hpp>

#include "base/log_history.h"

namespace braid {
namespace {

LogFormat g_format = LogFormat::kHuman;

spdlog::logger& logger() {
  static auto instance = [] {
    auto made = std::make_shared<spdlog::logger>(
        "braid", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    made->set_pattern("%H:%M:%S.%e %^%-7l%$ %v");
    return made;
  }();
  return *instance;
}

spdlog::level::level_enum level_of(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug: return spdlog::level::debug;
    case LogLevel::kInfo: return spdlog::level::info;
    case LogLevel::kWarning: return spdlog::level::warn;
    case LogLevel::kError: return spdlog::level::err;
  }
  return spdlog::level::info;
}

struct History {
  std::mutex mutex;
  std::deque<std::string> lines;
};
History& history() {
  static History instance;
  return instance;
}

void remember(LogLevel level, const std::string& line) {
  constexpr std::size_t kMostLines = 100;
  const auto seconds = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()).time_since_epoch().count();
  std::lock_guard lock(history().mutex);
  if (history().lines.size() == kMostLines) history().lines.pop_front();
  history().lines.push_back(std::to_string(seconds) + (level == LogLevel::kError ? " error " : " warning ") + line);
}

nlohmann::ordered_json value_of(const LogField& field) {
  return std::visit([](const auto& v) { return nlohmann::ordered_json(v); }, field.value);
}

std::string dump(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace

void configure_log(LogLevel level, LogFormat format) {
  g_format = format;
  logger().set_level(level_of(level));
  if (format == LogFormat::kJson) logger().set_pattern("{\"time\":\"%Y-%m-%dT%H:%M:%S.%e%z\",\"level\":\"%l\",%v}");
}

void log_event(LogLevel level, std::string_view event, std::initializer_list<LogField> fields) {
  if (!logger().should_log(level_of(level))) return;
  std::string line;
  if (g_format == LogFormat::kJson) {
    line = "\"event\":" + dump(std::string(event));
    for (const auto& f : fields) line += "," + dump(std::string(f.name)) + ":" + dump(value_of(f));
  } else {
    line = std::string(event);
    for (const auto& f : fields) {
      const auto* text = std::get_if<std::string>(&f.value);
      line += (&f == fields.begin() ? "  " : " ") + std::string(f.name) + "=";
      line += text && text->find(' ') == std::string::npos ? *text : dump(value_of(f));
    }
  }
  logger().log(level_of(level), "{}", line);
  if (level >= LogLevel::kWarning) remember(level, line);
}

std::vector<std::string> last_problems() {
  std::lock_guard lock(history().mutex);
  return {history().lines.begin(), history().lines.end()};
}

}  // namespace braid
