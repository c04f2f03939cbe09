// SPDX-License-Identifier: Apache-2.0
#include "kubernetes/api_server.h"

#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "text/files.h"
#include "text/yaml.h"

namespace braid::kubernetes {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kSpace = " \t\r\n";

std::string trimmed(const std::string& text) {
  const std::size_t end = text.find_last_not_of(kSpace);
  return end == text.npos ? std::string() : text.substr(0, end + 1);
}

std::optional<std::string> from_base64(std::string_view text) {
  constexpr std::string_view kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  unsigned bits = 0;
  int count = 0;
  for (const char c : text) {
    if (c == '=' || kSpace.find(c) != kSpace.npos) continue;
    const std::size_t value = kLetters.find(c);
    if (value == kLetters.npos) return std::nullopt;
    bits = bits << 6 | static_cast<unsigned>(value);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    out.push_back(static_cast<char>(bits >> count & 0xff));
  }
  return out;
}

std::string text_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// The part `inner` of the entry called `name` in the list `list`; null: there is none.
const Json* entry(const Json& config, const char* list, const std::string& name, const char* inner) {
  const auto found = config.find(list);
  if (found == config.end() || !found->is_array()) return nullptr;
  for (const Json& each : *found) {
    if (each.is_object() && text_at(each, "name") == name && each.contains(inner) && each[inner].is_object()) return &each[inner];
  }
  return nullptr;
}

// A value that stands in the file in base64 (`key`-data), or in another file that it names.
Result<std::string> data_of(const Json& object, const std::string& key, const std::filesystem::path& folder) {
  if (const std::string data = text_at(object, (key + "-data").c_str()); !data.empty()) {
    auto decoded = from_base64(data);
    if (!decoded) return invalid_argument(key + "-data is no base64");
    return std::move(*decoded);
  }
  const std::string file = text_at(object, key.c_str());
  return file.empty() ? Result<std::string>(std::string()) : text::read_file((folder / file).string());
}

Status read_url(std::string_view url, ApiServer& server) {
  const Error wrong = invalid_argument("server '" + std::string(url) + "' is not https://host:port");
  if (url.starts_with("https://")) {
    url.remove_prefix(8);
  } else if (url.starts_with("http://")) {
    url.remove_prefix(7);
    server.tls = false;
    server.port = 80;
  } else {
    return wrong;
  }
  const std::size_t slash = url.find('/');
  if (slash != url.npos) server.base = url.substr(slash);
  while (server.base.ends_with('/')) server.base.pop_back();
  std::string_view place = url.substr(0, slash);
  const std::size_t colon = place.rfind(':');
  if (colon != place.npos && place.find(']', colon) == place.npos) {
    const std::string_view digits = place.substr(colon + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), server.port);
    if (error != std::errc() || end != digits.data() + digits.size() || server.port < 1 || server.port > 65535) return wrong;
    place = place.substr(0, colon);
  }
  if (place.starts_with('[') && place.ends_with(']')) place = place.substr(1, place.size() - 2);
  if (place.empty()) return wrong;
  server.host = place;
  return {};
}

Result<ApiServer> read_context(const Json& config, const std::filesystem::path& folder) {
  const std::string current = text_at(config, "current-context");
  const Json* context = entry(config, "contexts", current, "context");
  if (context == nullptr) return invalid_argument("there is no context '" + current + "' (current-context)");
  const Json* cluster = entry(config, "clusters", text_at(*context, "cluster"), "cluster");
  if (cluster == nullptr) return invalid_argument("there is no cluster '" + text_at(*context, "cluster") + "'");
  ApiServer server;
  RETURN_IF_ERROR(read_url(text_at(*cluster, "server"), server));
  server.name = text_at(*cluster, "tls-server-name");
  if (server.name.empty()) server.name = server.host;
  server.verify = !cluster->value("insecure-skip-tls-verify", false);
  ASSIGN_OR_RETURN(server.authorities, data_of(*cluster, "certificate-authority", folder));
  server.name_space = text_at(*context, "namespace");
  const Json* user = entry(config, "users", text_at(*context, "user"), "user");
  if (user == nullptr) return server;
  if (user->contains("exec") || user->contains("auth-provider")) {
    return invalid_argument("user '" + text_at(*context, "user") + "' gets credentials from a program, which is not supported; give a token or certificate");
  }
  server.token = text_at(*user, "token");
  if (const std::string file = text_at(*user, "tokenFile"); !file.empty()) server.token_file = (folder / file).string();
  ASSIGN_OR_RETURN(server.certificate, data_of(*user, "client-certificate", folder));
  ASSIGN_OR_RETURN(server.key, data_of(*user, "client-key", folder));
  return server;
}

}  // namespace

Result<ApiServer> in_cluster(const std::string& folder) {
  const char* host = std::getenv("KUBERNETES_SERVICE_HOST");
  const char* port = std::getenv("KUBERNETES_SERVICE_PORT");
  if (host == nullptr || port == nullptr) {
    return invalid_argument("KUBERNETES_SERVICE_HOST is not set, so this is no pod; name a kubeconfig file", "kubeconfig");
  }
  ApiServer server;
  const std::string place = std::string(host).find(':') == std::string::npos ? host : "[" + std::string(host) + "]";
  RETURN_IF_ERROR(read_url("https://" + place + ":" + port, server));
  server.name = server.host;
  server.token_file = folder + "/token";
  ASSIGN_OR_RETURN(server.authorities, text::read_file(folder + "/ca.crt"));
  if (const auto name = text::read_file(folder + "/namespace"); name.ok()) server.name_space = trimmed(*name);
  return server;
}

Result<ApiServer> from_url(const std::string& url) {
  ApiServer server;
  RETURN_IF_ERROR(read_url(url, server));
  server.name = server.host;
  return server;
}

Result<ApiServer> from_kubeconfig(const std::string& file) {
  ASSIGN_OR_RETURN(const std::string yaml, text::read_file(file));
  const auto json = text::yaml_to_json(yaml);
  if (!json.ok()) return json.error().within(file);
  const Json config = Json::parse(*json, nullptr, false);
  if (!config.is_object()) return invalid_argument(file + ": a kubeconfig is a mapping", "kubeconfig");
  auto server = read_context(config, std::filesystem::path(file).parent_path());
  return server.ok() ? server : Result<ApiServer>(server.error().within(file));
}

std::string token_of(const ApiServer& server) {
  if (server.token_file.empty()) return server.token;
  const auto read = text::read_file(server.token_file);
  return read.ok() ? trimmed(*read) : server.token;
}

}  // namespace braid::kubernetes
