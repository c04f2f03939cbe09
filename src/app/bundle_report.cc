// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <thread>

#include "app/commands.h"
#include "app/output_file.h"
#include "app/parse.h"
#include "base/version.h"
#include "config/reference.h"
#include "dashboard/dashboard.h"
#include "net/http_client.h"

namespace braid::app {
namespace {

using Json = nlohmann::ordered_json;

struct BundleSettings {
  std::vector<std::string> url = {"http://localhost:8000"};
  std::string output = "braid-report.json";
  std::string api_key;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("url", self.url, {.help = "Engines and routers to ask; the same as URL..."});
    v.field("output", self.output, {.help = "File to write"});
    v.field("api-key", self.api_key, {.help = "Key of theirs", .environment = "VLLM_API_KEY", .secret = true});
  }
};

Json machine_json() {
  utsname name{};
  uname(&name);
  struct sysinfo memory{};
  sysinfo(&memory);
  return {{"system", std::string(name.sysname) + " " + name.release + " " + name.machine},
          {"processors", std::thread::hardware_concurrency()},
          {"memory_bytes", static_cast<std::uint64_t>(memory.totalram) * memory.mem_unit},
          {"free_bytes", static_cast<std::uint64_t>(memory.freeram) * memory.mem_unit}};
}

Result<Json> ask(const std::string& text, const std::string& key) {
  ASSIGN_OR_RETURN(const net::Url url, net::parse_url(text));
  const auto client = net::HttpClient::create(url.host, url.port, 1);
  net::ClientRequest request;
  request.target = url.base + std::string(dashboard::kReportPath);
  request.timeout = std::chrono::seconds(20);
  if (!key.empty()) request.headers.push_back({"Authorization", "Bearer " + key});
  ASSIGN_OR_RETURN(const net::ClientResponse answer, client->fetch(std::move(request)));
  if (answer.status == 401) return invalid_argument(text + " wants a key; give --api-key", "api-key");
  if (answer.status != 200) return internal_error("it answered " + std::to_string(answer.status));
  Json report = Json::parse(answer.body, nullptr, false);
  if (report.is_discarded()) return internal_error("its answer is no JSON");
  return report;
}

Status bundle(const BundleSettings& settings) {
  ASSIGN_OR_RETURN(OutputFile file, OutputFile::create(settings.output));
  chmod(settings.output.c_str(), S_IRUSR | S_IWUSR);
  Json servers = Json::object();
  std::size_t answered = 0;
  for (const std::string& url : settings.url) {
    auto report = ask(url, settings.api_key);
    answered += report.ok();
    servers[url] = report.ok() ? std::move(*report) : Json{{"error", report.error().message}};
    std::printf("%s: %s\n", url.c_str(), report.ok() ? "ok" : servers[url]["error"].get<std::string>().c_str());
  }
  const Json whole = {{"braid", version()}, {"machine", machine_json()}, {"servers", std::move(servers)}};
  RETURN_IF_ERROR(file.write(whole.dump(1, ' ', false, Json::error_handler_t::replace) + "\n"));
  std::printf("%s: versions, configuration without secrets, topology, metrics and last problems of %zu of %zu servers\n", settings.output.c_str(),
              answered, settings.url.size());
  return {};
}

}  // namespace

int bundle_report(Words words) {
  BundleSettings settings;
  auto options = parse_options();
  options.positional_fields = {};
  const auto parsed = config::parse(settings, words, options);
  if (!parsed.ok()) return fail(parsed.error());
  if (parsed->help) {
    std::puts(config::help<BundleSettings>({"braid bundle-report [URL...] [flags]", "One file for a bug report about running engines and routers; secrets are left out.",
                                            "  braid bundle-report http://localhost:8000 http://localhost:8081\n"}).c_str());
    return 0;
  }
  if (!parsed->positionals.empty()) settings.url = parsed->positionals;
  const Status status = bundle(settings);
  return status.ok() ? 0 : fail(status.error());
}

}  // namespace braid::app
