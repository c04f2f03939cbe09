// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/output_file.h"
#include "app/parse.h"
#include "config/reference.h"
#include "net/http_client.h"

namespace braid::app {
namespace {

using Json = nlohmann::ordered_json;

struct TraceSettings {
  std::string output = "braid-trace.json";
  std::vector<std::string> url = {"http://localhost:8000"};
  std::string api_key;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("output", self.output, {.help = "File to write; the same as FILE.json"});
    v.field("url", self.url, {.help = "Servers to ask, one for each port of a deployment"});
    v.field("api-key", self.api_key, {.help = "Key of theirs", .environment = "VLLM_API_KEY", .secret = true});
  }
};

Result<Json> events_of(const std::string& text, const std::string& key) {
  ASSIGN_OR_RETURN(const net::Url url, net::parse_url(text));
  const auto client = net::HttpClient::create(url.host, url.port, 1);
  net::ClientRequest request;
  request.target = url.base + "/timeline";
  request.timeout = std::chrono::seconds(60);
  if (!key.empty()) request.headers.push_back({"Authorization", "Bearer " + key});
  auto fetched = client->fetch(std::move(request));
  if (!fetched.ok()) return fetched.error().within("no timeline of " + text + "; is braid serve running there?");
  if (fetched->status == 401) return invalid_argument(text + " wants a key; give --api-key", "api-key");
  if (fetched->status != 200) return internal_error(text + "/timeline answered " + std::to_string(fetched->status));
  const Json file = Json::parse(fetched->body, nullptr, false);
  if (!file.is_object() || !file.contains("traceEvents")) return internal_error(text + "/timeline is no trace");
  return file.at("traceEvents");
}

Status run(const TraceSettings& settings) {
  ASSIGN_OR_RETURN(OutputFile file, OutputFile::create(settings.output));
  Json all = {{"displayTimeUnit", "ms"}, {"traceEvents", Json::array()}};
  Json& events = all["traceEvents"];
  for (const std::string& url : settings.url) {
    ASSIGN_OR_RETURN(Json more, events_of(url, settings.api_key));
    for (Json& event : more) events.push_back(std::move(event));
  }
  RETURN_IF_ERROR(file.write(all.dump()));
  std::printf("Wrote %zu events to %s; open it at https://ui.perfetto.dev or chrome://tracing\n", events.size(), settings.output.c_str());
  return {};
}

}  // namespace

int trace(Words words) {
  TraceSettings settings;
  auto options = parse_options();
  options.positional_fields = {"output"};
  const auto parsed = config::parse(settings, words, options);
  if (!parsed.ok()) return fail(parsed.error());
  if (parsed->help) {
    std::puts(config::help<TraceSettings>({"braid trace FILE.json [flags]",
        "Writes what each rank of running servers did in its newest steps, in Chrome's trace format: steps, layers, attention, and how tokens went "
        "to experts and came back. Always recorded, so nothing has to be switched on before.", "  braid trace steps.json --url http://localhost:8000\n"}).c_str());
    return 0;
  }
  const Status status = run(settings);
  return status.ok() ? 0 : fail(status.error());
}

}  // namespace braid::app
