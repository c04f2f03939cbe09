// SPDX-License-Identifier: Apache-2.0
// One line per event, for people or as JSON:
//   log_info("model loaded", {{"seconds", 0.21}, {"bytes", 32248992}});
//   human: 12:00:01.123 INFO  model loaded  seconds=0.21 bytes=32248992
//   JSON:  {"time":"...","level":"info","event":"model loaded","seconds":0.21,"bytes":32248992}
// Thread safety: all functions may be called from any thread. Lines go to stderr.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <variant>

namespace braid {

enum class LogLevel { kDebug, kInfo, kWarning, kError };
enum class LogFormat { kHuman, kJson };

struct LogField {
  std::string_view name;
  std::variant<std::string, double, std::int64_t, bool> value;

  LogField(std::string_view n, std::string v) : name(n), value(std::move(v)) {}
  LogField(std::string_view n, const char* v) : name(n), value(std::string(v)) {}
  LogField(std::string_view n, std::string_view v) : name(n), value(std::string(v)) {}
  LogField(std::string_view n, double v) : name(n), value(v) {}
  LogField(std::string_view n, bool v) : name(n), value(v) {}
  template <class Integer>
    requires std::is_integral_v<Integer>
  LogField(std::string_view n, Integer v) : name(n), value(static_cast<std::int64_t>(v)) {}
};

// Call once from main before other threads start.
void configure_log(LogLevel level, LogFormat format);

void log_event(LogLevel level, std::string_view event, std::initializer_list<LogField> fields);

inline void log_debug(std::string_view e, std::initializer_list<LogField> f = {}) {
  log_event(LogLevel::kDebug, e, f);
}
inline void log_info(std::string_view e, std::initializer_list<LogField> f = {}) {
  log_event(LogLevel::kInfo, e, f);
}
inline void log_warning(std::string_view e, std::initializer_list<LogField> f = {}) {
  log_event(LogLevel::kWarning, e, f);
}
inline void log_error(std::string_view e, std::initializer_list<LogField> f = {}) {
  log_event(LogLevel::kError, e, f);
}

}  // namespace braid
