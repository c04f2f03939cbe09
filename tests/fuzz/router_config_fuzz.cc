// SPDX-License-Identifier: Apache-2.0
// Any text as a scenario of the router, and any as its configuration: an error that says something, or a
// router that decides.
#include "require.h"
#include "router/replay.h"

namespace {

using namespace braid;
using namespace braid::router;

void decide_once(const PickerConfig& config) {
  static SteadyClock clock;
  auto made = Router::make(config, {&clock});
  if (!made.ok()) return require(!made.error().message.empty(), "an error says something");
  Router& router = **made;
  const std::vector<Endpoint> endpoints = {{{"a", "10.0.0.1", 8000, 0}, {}, {}}, {{"b", "10.0.0.2", 8000, 0}, {{"llm-d.ai/role", "prefill"}}, {}}};
  auto request = read_request({"POST", "/v1/completions", {}, R"({"model":"m","prompt":"a prompt"})"}, clock.now());
  auto shared = std::make_shared<RoutedRequest>(std::move(*request));
  const auto submission = router.submit(shared, endpoints);
  if (!submission.decision) return;
  require(submission.decision->ok() != submission.decision->decode.empty(), "there is a target or a refusal");
  require(!to_json(*submission.decision).empty() && !to_text(*submission.decision).empty(), "it can be explained");
  if (submission.decision->ok()) router.done(router.sent(*shared, *submission.decision), {});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  const auto config = parse_picker_config(input, "epp.yaml");
  if (config.ok()) {
    decide_once(*config);
  } else {
    require(!config.error().message.empty(), "an error says something");
  }
  const auto told = explain_scenario(input.substr(0, 4096), "scenario", true);
  if (!told.ok()) require(!told.error().message.empty(), "an error says something");
  return 0;
}
