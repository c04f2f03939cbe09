// SPDX-License-Identifier: Apache-2.0
#include "transfer/settings.h"

#include <nlohmann/json.hpp>

namespace braid::transfer {
namespace {

constexpr double kLease = 10;
constexpr double kLongestLease = 3600;

}  // namespace

Result<Duration> lease_of(const Settings& settings) {
  const auto extra = nlohmann::json::parse(settings.kv_connector_extra_config.text, nullptr, false);
  double seconds = kLease;
  if (const auto found = extra.find("kv_lease_duration"); extra.is_object() && found != extra.end()) {
    if (!found->is_number() || found->get<double>() < 0.1 || found->get<double>() > kLongestLease) {
      return invalid_argument("kv_lease_duration is " + found->dump() + "; it must be from 0.1 to 3600 seconds", "kv-transfer-config");
    }
    seconds = found->get<double>();
  }
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

Status check(const Settings& settings) {
  RETURN_IF_ERROR(lease_of(settings));
  if (is_loopback(settings.kv_ip) || !settings.kv_secret.empty()) return {};
  return invalid_argument("--kv-transfer-config.kv_ip is " + settings.kv_ip + ", which other hosts can reach; set "
                          "--kv-transfer-config.kv_secret to a word that all engines know", "kv-transfer-config");
}

bool is_loopback(const std::string& host) { return host == "localhost" || host == "::1" || host.starts_with("127."); }

}  // namespace braid::transfer
