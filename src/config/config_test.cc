// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "config/human_number.h"
#include "config/parse.h"
#include "config/suggest.h"
#include "config/vllm_flags.h"

namespace braid::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

struct EplbSettings {
  int window_size = 1000;
  bool use_async = true;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("window-size", self.window_size, {.help = "Steps of load history", .min = 1});
    v.field("use-async", self.use_async, {.help = "Move weights beside the steps"});
  }
};

struct CacheSettings {
  int block_size = 16;
  std::int64_t kv_cache_memory_bytes = 0;
  bool enable_prefix_caching = true;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("block-size",
            self.block_size,
            {.help = "Tokens per cache block", .unit = "tokens", .min = 1, .max = 256});
    v.field("kv-cache-memory-bytes",
            self.kv_cache_memory_bytes,
            {.help = "Memory for the cache", .unit = "bytes", .min = 0, .human_size = true});
    v.field("enable-prefix-caching", self.enable_prefix_caching, {.help = "Reuse blocks"});
  }
};

struct TestSettings {
  std::string model = "models/default";
  int port = 8000;
  std::int64_t max_model_len = -1;
  double share = 0.9;
  bool trust_remote_code = false;
  bool disable_log_stats = false;
  std::optional<int> seed;
  std::vector<std::string> served_model_name;
  std::vector<std::string> api_key;
  std::string policy = "fcfs";
  JsonObject hf_overrides;
  CacheSettings cache;
  EplbSettings eplb;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("model", self.model, {.help = "Folder of the model"});
    v.field("port", self.port, {.help = "TCP port", .min = 0, .max = 65535, .short_name = "p"});
    v.field("max-model-len",
            self.max_model_len,
            {.help = "Longest sequence", .min = 1, .human_size = true, .auto_value = -1});
    v.field("share",
            self.share,
            {.help = "Share of memory", .min = 0, .max = 1, .aliases = {"device-share"}});
    v.field("trust-remote-code", self.trust_remote_code, {.help = "Accepted"});
    v.field("disable-log-stats", self.disable_log_stats, {.help = "No statistics"});
    v.field("seed", self.seed, {.help = "Seed"});
    v.field("served-model-name", self.served_model_name, {.help = "Names"});
    v.field("api-key", self.api_key,
            {.help = "Keys", .environment = "VLLM_API_KEY", .secret = true});
    v.field("scheduling-policy", self.policy, {.help = "Order", .choices = {"fcfs", "priority"}});
    v.field("hf-overrides", self.hf_overrides, {.help = "Changes to config.json"});
    v.group("Cache", self.cache);
    v.section("eplb-config", self.eplb, "Expert load balancing");
  }
};

class ConfigTest : public testing::Test {
 protected:
  Result<Parsed> run(std::vector<std::string> args) {
    ParseOptions options;
    options.environment = [&](const std::string& name) -> std::optional<std::string> {
      const auto found = environment_.find(name);
      return found == environment_.end() ? std::nullopt : std::optional(found->second);
    };
    options.read_file = [&](const std::string& path) -> Result<std::string> {
      const auto found = files_.find(path);
      if (found == files_.end()) return invalid_argument("cannot be opened");
      return found->second;
    };
    options.positional_fields = positional_fields_;
    return parse(settings_, args, options);
  }

  std::string error_of(std::vector<std::string> args) {
    const auto parsed = run(std::move(args));
    return parsed.ok() ? "no error" : parsed.error().message;
  }

  TestSettings settings_;
  std::map<std::string, std::string> environment_;
  std::map<std::string, std::string> files_;
  std::vector<std::string> positional_fields_ = {"model"};
};

TEST_F(ConfigTest, DashesAndUnderscoresAreTheSame) {
  ASSERT_TRUE(run({"--block_size", "32"}).ok());
  EXPECT_EQ(settings_.cache.block_size, 32);
  ASSERT_TRUE(run({"--block-size=64"}).ok());
  EXPECT_EQ(settings_.cache.block_size, 64);
}

TEST_F(ConfigTest, BooleansAreSetByTheirSpelling) {
  ASSERT_TRUE(run({"--trust-remote-code", "--disable-prefix-caching", "m"}).ok());
  EXPECT_TRUE(settings_.trust_remote_code);
  EXPECT_FALSE(settings_.cache.enable_prefix_caching);
  EXPECT_EQ(settings_.model, "m");
  ASSERT_TRUE(run({"--no-trust_remote_code", "--enable-prefix-caching", "--disable-log-stats"}).ok());
  EXPECT_FALSE(settings_.trust_remote_code);
  EXPECT_TRUE(settings_.cache.enable_prefix_caching);
  EXPECT_TRUE(settings_.disable_log_stats);
  ASSERT_TRUE(run({"--enable-log-stats", "--no-enable-prefix-caching"}).ok());
  EXPECT_FALSE(settings_.disable_log_stats);
  EXPECT_FALSE(settings_.cache.enable_prefix_caching);
  ASSERT_TRUE(run({"--trust-remote-code=false"}).ok());
  EXPECT_FALSE(settings_.trust_remote_code);
}

TEST_F(ConfigTest, ABooleanTakesNoOtherValue) {
  EXPECT_THAT(error_of({"--trust-remote-code=perhaps"}), HasSubstr("neither true nor false"));
}

TEST_F(ConfigTest, ListsTakeWordsUpToTheNextFlagAndRepeatedFlagsAdd) {
  ASSERT_TRUE(run({"m", "--served-model-name", "a", "b", "--api-key", "k1", "--api-key", "k2"}).ok());
  EXPECT_THAT(settings_.served_model_name, ElementsAre("a", "b"));
  EXPECT_THAT(settings_.api_key, ElementsAre("k1", "k2"));
  ASSERT_TRUE(run({"--served-model-name", "[\"x\",\"y\"]"}).ok());
  EXPECT_THAT(settings_.served_model_name, ElementsAre("x", "y"));
}

TEST_F(ConfigTest, APlusAppendsToWhatTheFileSaid) {
  files_["c"] = R"({"served-model-name": ["a"]})";
  ASSERT_TRUE(run({"--config", "c", "--served-model-name+", "b"}).ok());
  EXPECT_THAT(settings_.served_model_name, ElementsAre("a", "b"));
}

TEST_F(ConfigTest, OnlyListsCanBeAppendedTo) {
  EXPECT_THAT(error_of({"--port+", "1"}), HasSubstr("is not a list"));
}

TEST_F(ConfigTest, SectionsTakeJsonOrDottedNames) {
  ASSERT_TRUE(run({"--eplb-config", R"({"window_size": 7, "use_async": false})"}).ok());
  EXPECT_EQ(settings_.eplb.window_size, 7);
  EXPECT_FALSE(settings_.eplb.use_async);
  ASSERT_TRUE(run({"--eplb_config.window_size", "9", "--eplb-config.use_async"}).ok());
  EXPECT_EQ(settings_.eplb.window_size, 9);
  EXPECT_TRUE(settings_.eplb.use_async);
  ASSERT_TRUE(run({"--eplb-config.no-use-async"}).ok());
  EXPECT_FALSE(settings_.eplb.use_async);
}

TEST_F(ConfigTest, OpenJsonSettingsTakeDeepPathsAndKeepTheirKeysAsTyped) {
  ASSERT_TRUE(run({"--hf-overrides.rope_scaling.factor", "4", "--hf-overrides.names+", "LIBFABRIC",
                   "--hf_overrides.flag", "true"})
                  .ok());
  EXPECT_EQ(settings_.hf_overrides.text,
            R"({"flag":true,"names":["LIBFABRIC"],"rope_scaling":{"factor":4}})");
}

TEST_F(ConfigTest, SizesAreDecimalInSmallLettersAndBinaryInLarge) {
  ASSERT_TRUE(run({"--max-model-len", "16k", "--kv-cache-memory-bytes=1.5GiB"}).ok());
  EXPECT_EQ(settings_.max_model_len, 16000);
  EXPECT_EQ(settings_.cache.kv_cache_memory_bytes, 3LL << 29);
  ASSERT_TRUE(run({"--max-model-len", "16K"}).ok());
  EXPECT_EQ(settings_.max_model_len, 16384);
  ASSERT_TRUE(run({"--max-model-len", "auto"}).ok());
  EXPECT_EQ(settings_.max_model_len, -1);
  ASSERT_TRUE(run({"--max-model-len", "-1"}).ok());
  EXPECT_EQ(settings_.max_model_len, -1);
}

TEST_F(ConfigTest, ShortNamesAndAliasesWork) {
  ASSERT_TRUE(run({"-p", "81", "--device-share", "0.5"}).ok());
  EXPECT_EQ(settings_.port, 81);
  EXPECT_EQ(settings_.share, 0.5);
}

TEST_F(ConfigTest, FlagsWinOverEnvironmentOverFileOverDefault) {
  files_["serve.yaml"] = R"({"port": 1, "seed": 1, "share": 0.1, "block_size": 8})";
  environment_ = {{"BRAID_PORT", "2"}, {"BRAID_SEED", "2"}};
  const auto parsed = run({"--config", "serve.yaml", "--port", "3"});
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(settings_.port, 3);
  EXPECT_EQ(settings_.seed, 2);
  EXPECT_EQ(settings_.share, 0.1);
  EXPECT_EQ(describe_origin(parsed->origin("port")), "flag --port");
  EXPECT_EQ(describe_origin(parsed->origin("seed")), "environment BRAID_SEED");
  EXPECT_EQ(describe_origin(parsed->origin("block-size")), "file serve.yaml");
  EXPECT_EQ(describe_origin(parsed->origin("model")), "default");
}

TEST_F(ConfigTest, AFieldCanHaveASecondEnvironmentVariable) {
  environment_ = {{"VLLM_API_KEY", "secret"}};
  ASSERT_TRUE(run({}).ok());
  EXPECT_THAT(settings_.api_key, ElementsAre("secret"));
}

TEST_F(ConfigTest, FilesNestSectionsAndNullUnsets) {
  files_["f"] = R"({"eplb-config": {"window-size": 5}, "seed": null, "model": "x"})";
  settings_.seed = 3;
  ASSERT_TRUE(run({"--config", "f"}).ok());
  EXPECT_EQ(settings_.eplb.window_size, 5);
  EXPECT_EQ(settings_.seed, std::nullopt);
  EXPECT_EQ(settings_.model, "x");
}

TEST_F(ConfigTest, FileErrorsNameTheFileAndTheSetting) {
  files_["f"] = R"({"blok-size": 5})";
  EXPECT_EQ(error_of({"--config", "f"}),
            "unknown setting 'blok-size'; did you mean block-size? (from file f)");
  files_["f"] = R"({"port": "http"})";
  EXPECT_EQ(error_of({"--config", "f"}), "--port: 'http' is not a whole number (from file f)");
  files_["f"] = "[1]";
  EXPECT_EQ(error_of({"--config", "f"}), "--config f: is not a mapping of settings");
  EXPECT_EQ(error_of({"--config", "none"}), "--config none: cannot be opened");
  EXPECT_EQ(error_of({"--config"}), "--config: needs a value");
}

TEST_F(ConfigTest, YamlComesInThroughTheGivenFunction) {
  TestSettings settings;
  ParseOptions options;
  options.read_file = [](const std::string&) -> Result<std::string> { return std::string("port: 5"); };
  options.yaml_to_json = [](const std::string& yaml) -> Result<std::string> {
    if (yaml != "port: 5") return invalid_argument("unexpected text");
    return std::string(R"({"port": 5})");
  };
  const std::vector<std::string> args = {"--config", "x.yaml"};
  ASSERT_TRUE(parse(settings, args, options).ok());
  EXPECT_EQ(settings.port, 5);
}

TEST_F(ConfigTest, UnknownFlagsSuggestTheNearest) {
  EXPECT_EQ(error_of({"--blok-size", "3"}), "unknown flag --blok-size; did you mean --block-size?");
  EXPECT_EQ(error_of({"--no-trust-remot-code"}),
            "unknown flag --no-trust-remot-code; did you mean --no-trust-remote-code?");
  EXPECT_EQ(error_of({"--eplb-config.windowsize", "3"}),
            "unknown flag --eplb-config.windowsize; did you mean --eplb-config.window-size?");
  EXPECT_THAT(error_of({"--colour", "red"}), HasSubstr("--help lists the flags there are"));
  EXPECT_THAT(error_of({"--eplb-config", R"({"window": 3})"}), HasSubstr("'eplb-config.window'"));
}

TEST_F(ConfigTest, AVllmFlagThatBraidLacksIsSaidToBeThat) {
  for (const char* flag : {"--enable-lora", "--no-enable-lora", "--compilation-config.mode", "-dp"}) {
    EXPECT_THAT(error_of({flag, "1"}), HasSubstr("is a vLLM flag that Braid does not have yet"));
  }
}

TEST_F(ConfigTest, ValuesOutOfRangeNameFlagValueAndRange) {
  EXPECT_EQ(error_of({"--port", "70000"}),
            "--port: 70000 is out of range: it must be between 0 and 65535");
  EXPECT_EQ(error_of({"--max-model-len", "0"}),
            "--max-model-len: 0 is out of range: it must be at least 1");
  EXPECT_EQ(error_of({"--scheduling-policy", "lifo"}),
            "--scheduling-policy: 'lifo' is not one of: fcfs, priority");
  EXPECT_EQ(error_of({"--share", "nan"}), "--share: 'nan' is not a number");
  EXPECT_EQ(error_of({"--port", "99999999999"}), "--port: '99999999999' is too large");
  EXPECT_EQ(error_of({"--port"}), "--port: needs a value");
  EXPECT_EQ(error_of({"--port", "--share", "1"}), "--port: needs a value");
  environment_ = {{"BRAID_PORT", "x"}};
  EXPECT_EQ(error_of({}), "--port: 'x' is not a whole number (from environment BRAID_PORT)");
}

TEST_F(ConfigTest, SurplusWordsAreErrorsUnlessTheCommandTakesThem) {
  EXPECT_THAT(error_of({"a", "b"}), HasSubstr("unexpected argument 'b'"));
  positional_fields_.clear();
  const auto parsed = run({"a", "--", "--b"});
  ASSERT_TRUE(parsed.ok());
  EXPECT_THAT(parsed->positionals, ElementsAre("a", "--b"));
}

TEST_F(ConfigTest, HelpWinsOverErrors) {
  const auto parsed = run({"--colour", "--help"});
  ASSERT_TRUE(parsed.ok());
  EXPECT_TRUE(parsed->help);
}

TEST_F(ConfigTest, ParseJsonRefusesUnknownKeys) {
  EplbSettings settings;
  EXPECT_TRUE(parse_json(settings, R"({"window_size": 4})").ok());
  EXPECT_EQ(settings.window_size, 4);
  EXPECT_FALSE(parse_json(settings, R"({"windows_size": 4})").ok());
  EXPECT_FALSE(parse_json(settings, "nonsense").ok());
}

TEST(Validate, FindsDefaultsOutOfRangeAndNamesUsedTwice) {
  TestSettings settings;
  EXPECT_TRUE(validate(settings).ok());
  settings.cache.block_size = 0;
  EXPECT_EQ(validate(settings).error().message,
            "--block-size: 0 is out of range: it must be between 1 and 256");
  Table table = table_of(settings);
  settings.cache.block_size = 16;
  table.fields.push_back(table.fields.front());
  EXPECT_EQ(validate_table(table).error().message, "the setting 'model' is described twice");
}

TEST(HumanNumber, ReadsSuffixesAndRefusesTheRest) {
  EXPECT_EQ(*parse_human_number("25.6k"), 25600);
  EXPECT_EQ(*parse_human_number("2m"), 2'000'000);
  EXPECT_EQ(*parse_human_number("2M"), 2 << 20);
  EXPECT_EQ(*parse_human_number("1G"), 1 << 30);
  EXPECT_EQ(*parse_human_number("4 GiB"), 4LL << 30);
  EXPECT_EQ(*parse_human_number("4GB"), 4'000'000'000);
  EXPECT_EQ(*parse_human_number("-1"), -1);
  for (const char* bad : {"", "k", "1.5", "1x", "1kk", "0x10", "99999999999999999999", "9e9T"}) {
    EXPECT_FALSE(parse_human_number(bad).ok()) << bad;
  }
  EXPECT_EQ(print_human_bytes(4LL << 30), "4 GiB");
  EXPECT_EQ(print_human_bytes(1000), "1000");
}

TEST(Suggest, CountsSwapsAsOneStep) {
  EXPECT_EQ(edit_distance("port", "prot"), 1);
  EXPECT_EQ(edit_distance("", "abc"), 3);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3);
  const std::vector<std::string> names = {"port", "host"};
  EXPECT_EQ(nearest("prot", names), "port");
  EXPECT_EQ(nearest("banana", names), "");
}

TEST(VllmFlags, KnowsLongShortNegatedAndDottedNames) {
  EXPECT_TRUE(is_vllm_flag("data-parallel-size"));
  EXPECT_TRUE(is_vllm_flag("dp"));
  EXPECT_TRUE(is_vllm_flag("disable-eplb"));
  EXPECT_TRUE(is_vllm_flag("kv-transfer-config.kv-connector"));
  EXPECT_FALSE(is_vllm_flag("data-parallel"));
  EXPECT_FALSE(is_vllm_flag("dp tp"));
  EXPECT_FALSE(is_vllm_flag(""));
}

}  // namespace
}  // namespace braid::config
