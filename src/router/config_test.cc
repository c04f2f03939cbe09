// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "router/catalog.h"
#include "router/router.h"

namespace braid::router {
namespace {

const std::string kHead = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n";

// The error of reading and building a configuration, or "".
std::string error_of(const std::string& yaml) {
  const auto config = parse_picker_config(yaml, "epp.yaml");
  if (!config.ok()) return config.error().message;
  static SteadyClock clock;
  const auto router = Router::make(*config, {&clock});
  return router.ok() ? std::string() : router.error().message;
}

TEST(PickerConfig, the_default_one_and_both_api_versions_are_accepted) {
  SteadyClock clock;
  EXPECT_TRUE(Router::make(default_picker_config(), {&clock}).ok());
  EXPECT_EQ(error_of(kHead + "plugins:\n- type: queue-scorer\n"), "");
  const auto old = parse_picker_config(
      "apiVersion: inference.networking.x-k8s.io/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n- type: queue-scorer\n", "f");
  ASSERT_TRUE(old.ok());
  ASSERT_EQ(old->warnings.size(), 1u);
  EXPECT_NE(old->warnings[0].find("deprecated"), std::string::npos);
}

struct Wrong {
  const char* what;
  const char* yaml;  // after the head, from line 3 on
  const char* message;
};

const Wrong kWrong[] = {
    {"unknown key", "plugins: []\nschedulingProfile: []\n",
     "epp.yaml line 4: schedulingProfile: there is no 'schedulingProfile' here; did you mean 'schedulingProfiles'?"},
    {"unknown type", "plugins:\n- type: queue-scorer\n- name: x\n  type: queue-scorrer\n",
     "epp.yaml line 6: plugins[1].type: there is no plugin type 'queue-scorrer'; did you mean 'queue-scorer'?"},
    {"type that is not available", "plugins:\n- type: latency-scorer\n",
     "epp.yaml line 4: plugins[0].type: 'latency-scorer' is not available: learned latency is not available; use token-load-scorer"},
    {"unknown parameter", "plugins:\n- type: load-aware-scorer\n  parameters:\n    treshold: 5\n",
     "epp.yaml line 6: plugins[0].parameters.treshold: there is no 'treshold' here; did you mean 'threshold'?"},
    {"wrong type of value", "plugins:\n- type: load-aware-scorer\n  parameters:\n    threshold: high\n",
     "epp.yaml line 6: plugins[0].parameters.threshold: must be a whole number, not \"high\""},
    {"out of range", "plugins:\n- type: load-aware-scorer\n  parameters: {threshold: 0}\n",
     "epp.yaml line 5: plugins[0].parameters.threshold: 0 is too small: it must be at least 1"},
    {"duplicate name", "plugins:\n- type: queue-scorer\n- type: queue-scorer\n",
     "epp.yaml line 5: plugins[1]: the name 'queue-scorer' is taken by plugins[0]; give each plugin a name of its own"},
    {"unknown reference", "plugins:\n- type: queue-scorer\nschedulingProfiles:\n- name: default\n  plugins:\n  - pluginRef: queue-score\n",
     "epp.yaml line 8: schedulingProfiles[0].plugins[0].pluginRef: there is no plugin 'queue-score'; did you mean 'queue-scorer'?"},
    {"two pickers",
     "plugins:\n- type: max-score-picker\n- type: random-picker\nschedulingProfiles:\n- name: default\n  plugins:\n  - pluginRef: max-score-picker\n  - pluginRef: random-picker\n",
     "epp.yaml line 10: profile 'default' has two pickers, 'max-score-picker' and 'random-picker'; leave one"},
    {"several profiles without a handler", "schedulingProfiles:\n- name: a\n- name: b\n",
     "epp.yaml line 5: several profiles need a handler: add a plugin such as disagg-profile-handler or header-profile-handler"},
    {"missing profile", "plugins:\n- type: disagg-profile-handler\n- type: decode-filter\nschedulingProfiles:\n- name: decode\n- name: prefil\n",
     "epp.yaml line 4: plugins[0].parameters.profiles: plugin 'disagg-profile-handler' needs a profile 'prefill', which schedulingProfiles does not have; did you mean 'prefil'?"},
    {"missing producer", "plugins:\n- type: prefix-cache-scorer\n  parameters:\n    prefixMatchInfoProducerName: precise\n",
     "epp.yaml line 6: plugins[0].parameters.prefixMatchInfoProducerName: there is no plugin 'precise'; add it to plugins"},
    {"unknown gate", "featureGates: [flowControll]\n",
     "epp.yaml line 3: featureGates[0]: there is no feature gate 'flowControll'; did you mean 'flowControl'?"},
    {"bad quantity", "flowControl:\n  maxBytes: 1Gb\n",
     "epp.yaml line 4: flowControl.maxBytes: '1Gb' is not a quantity: write 5000, 1k or 1Gi"},
    {"bad duration", "flowControl:\n  defaultRequestTTL: 5\n",
     "epp.yaml line 4: flowControl.defaultRequestTTL: must be a duration such as 60s or 200ms, not 5"},
};

TEST(PickerConfig, an_error_names_file_line_and_path_and_the_nearest_name) {
  for (const Wrong& wrong : kWrong) {
    SCOPED_TRACE(wrong.what);
    EXPECT_EQ(error_of(kHead + wrong.yaml), wrong.message);
  }
}

TEST(PickerConfig, lines_count_from_the_start_of_the_file_in_later_documents_too) {
  Resources resources;
  const Status status = add_resources(resources, kHead + "---\nkind: InferenceObjective\nmetadata: {name: x}\nspec:\n  prio: 3\n", "epp.yaml");
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().message, "epp.yaml line 7: spec.prio: there is no 'prio' here; known are: priority poolRef");
}

TEST(Quantity, reads_kubernetes_suffixes) {
  EXPECT_EQ(*parse_quantity("1Gi"), 1073741824);
  EXPECT_EQ(*parse_quantity("1G"), 1000000000);
  EXPECT_EQ(*parse_quantity("5k"), 5000);
  EXPECT_EQ(*parse_quantity("1.5Ki"), 1536);
  EXPECT_EQ(*parse_quantity("500m"), 1);
  EXPECT_EQ(*parse_quantity("1e3"), 1000);
  EXPECT_EQ(*parse_quantity("0"), 0);
  for (const char* bad : {"", "-1", "1KB", "ten", "0x10", "1 k"}) EXPECT_FALSE(parse_quantity(bad).ok()) << bad;
}

TEST(Duration, reads_what_go_writes) {
  using namespace std::chrono_literals;
  EXPECT_EQ(*parse_duration("60s"), 60s);
  EXPECT_EQ(*parse_duration("1h2m"), 62min);
  EXPECT_EQ(*parse_duration("1.5s"), 1500ms);
  EXPECT_EQ(*parse_duration("200ms"), 200ms);
  EXPECT_EQ(*parse_duration("0"), 0s);
  for (const char* bad : {"", "5", "-1s", "s", "1x", "1s2"}) EXPECT_FALSE(parse_duration(bad).ok()) << bad;
}

TEST(Catalog, every_type_has_a_name_of_its_own_and_a_sentence) {
  std::vector<std::string> names;
  for (const PluginType& type : catalog()) {
    names.emplace_back(type.type);
    EXPECT_TRUE(type.what.ends_with(".")) << type.type;
  }
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::unique(names.begin(), names.end()), names.end());
}

TEST(WeightedRandomPicker, picks_in_proportion_to_the_totals) {
  const auto made = make_plugin_of("weighted-random-picker", {});
  ASSERT_TRUE(made.ok());
  auto* picker = dynamic_cast<Picker*>(made->get());
  Random random(7);
  RoutedRequest request;
  RequestData data;
  Context context{request, {}, {}, {}, data, random};
  const EndpointIndex candidates[] = {0, 1, 2};
  const double totals[] = {1, 3, 0};
  int counts[3] = {};
  for (int i = 0; i < 4000; ++i) ++counts[picker->pick(context, candidates, totals).front()];
  EXPECT_NEAR(counts[1], 3000, 150);
  EXPECT_EQ(counts[2], 0);
}

}  // namespace
}  // namespace braid::router
