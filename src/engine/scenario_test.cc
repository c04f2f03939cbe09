// SPDX-License-Identifier: Apache-2.0
// Plays tests/scenarios/scheduler/*.txt; their README explains the format.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "engine/testing/harness.h"

namespace braid::engine {
namespace {

using testing::Harness;
using testing::HarnessOptions;

using Options = std::map<std::string, std::string>;

class Scenario {
 public:
  void play(const std::filesystem::path& file) {
    std::ifstream in(file);
    ASSERT_TRUE(in) << file;
    std::string line;
    for (int number = 1; std::getline(in, line); ++number) {
      SCOPED_TRACE(file.filename().string() + ":" + std::to_string(number) + ": " + line);
      line = line.substr(0, line.find('#'));
      std::istringstream words(line);
      std::string verb;
      if (words >> verb) obey(verb, words);
      if (::testing::Test::HasFatalFailure()) return;
    }
  }

 private:
  struct Known {
    RequestId id = 0;
    int n = 1;
    std::vector<std::int32_t> prompt;
  };

  static Options options_of(std::istringstream& words) {
    Options options;
    std::string word;
    while (words >> word) {
      const auto equals = word.find('=');
      options[word.substr(0, equals)] = equals == std::string::npos ? "" : word.substr(equals + 1);
    }
    return options;
  }

  static int number(const Options& options, const std::string& key, int otherwise) {
    const auto found = options.find(key);
    return found == options.end() ? otherwise : std::stoi(found->second);
  }

  static std::string rest_of(std::istringstream& words) {
    std::string text, word;
    while (words >> word) text += (text.empty() ? "" : " ") + word;
    return text;
  }

  void obey(const std::string& verb, std::istringstream& words) {
    if (verb == "engine") return build(options_of(words));
    ASSERT_TRUE(harness_ != nullptr) << "the first line must be 'engine'";
    if (verb == "arrive" || verb == "refuse") {
      std::string name;
      words >> name;
      return arrive(name, words, verb == "refuse");
    }
    if (verb == "cancel") {
      std::string name;
      int index = -1;
      words >> name >> index;
      return harness_->loop.cancel(known_[name].id, words ? index : -1);
    }
    if (verb == "advance") {
      int milliseconds = 0;
      words >> milliseconds;
      return harness_->clock.advance(std::chrono::milliseconds(milliseconds));
    }
    if (verb == "step") return step(rest_of(words));
    if (verb == "ended") return expect_ended(rest_of(words));
    int want = 0;
    words >> want;
    const Stats stats = harness_->loop.stats();
    if (verb == "used") {
      EXPECT_EQ(stats.blocks_used, want);
    } else if (verb == "cached") {
      EXPECT_EQ(stats.blocks_cached, want);
    } else if (verb == "waiting") {
      EXPECT_EQ(stats.waiting, want);
    } else {
      FAIL() << "unknown word '" << verb << "'";
    }
  }

  void build(const Options& o) {
    HarnessOptions options;
    options.model.vocabulary = 4096;
    options.blocks = number(o, "blocks", 64);
    options.host_blocks = number(o, "host_blocks", 0);
    options.block_size = number(o, "block_size", 4);
    options.limits.max_batched_tokens = number(o, "budget", 64);
    options.limits.max_sequences = number(o, "sequences", 8);
    options.limits.long_prefill_threshold = number(o, "long_prefill", 0);
    options.limits.chunked_prefill = number(o, "chunked", 1) != 0;
    options.limits.prefix_caching = number(o, "caching", 1) != 0;
    options.max_model_len = number(o, "model_len", 1000);
    options.max_waiting = number(o, "queue", 100);
    options.priority = o.contains("policy") && o.at("policy") == "priority";
    options.trace = [this](const StepPlan& plan) { plan_ = describe(plan); };
    harness_ = std::make_unique<Harness>(options);
  }

  void arrive(const std::string& name, std::istringstream& words, bool refused) {
    const Options o = options_of(words);
    Known known;
    known.n = number(o, "n", 1);
    for (int i = 0; i < number(o, "prompt", 1); ++i) known.prompt.push_back((name[0] - 'A') * 100 + i);
    if (o.contains("like")) {  // like=A:8
      const std::string& like = o.at("like");
      const auto& other = known_[like.substr(0, 1)].prompt;
      std::copy_n(other.begin(), std::stoi(like.substr(2)), known.prompt.begin());
    }
    protocol::SamplingParams params;
    params.n = known.n;
    params.max_tokens = number(o, "out", 100);
    params.seed = 1;
    if (o.contains("prompt_logprobs")) params.prompt_logprobs = 0;
    SubmitMessage message = harness_->message(known.prompt, params);
    message.priority = number(o, "priority", 0);
    if (o.contains("deadline")) {
      message.deadline = harness_->clock.now() + std::chrono::milliseconds(number(o, "deadline", 0));
    }
    const auto id = harness_->submit(std::move(message));
    ASSERT_EQ(id.ok(), !refused) << (id.ok() ? "accepted" : id.error().message);
    if (!refused) {
      known.id = id.value();
      known_[name] = known;
      names_[known.id] = name;
    } else if (o.contains("fits")) {
      EXPECT_NE(id.error().message.find("at most " + o.at("fits")), std::string::npos)
          << id.error().message;
    }
  }

  std::string name_of(const Sequence& s) {
    const std::string& name = names_[s.arrival];
    return known_[name].n == 1 ? name : name + "." + std::to_string(s.index);
  }

  std::string describe(const StepPlan& plan) {
    std::string text;
    const auto add = [&](const std::string& item) { text += (text.empty() ? "" : ", ") + item; };
    for (const Sequence* s : plan.preempted) add("preempt " + name_of(*s));
    for (const PlannedWork& work : plan.work) {
      const Sequence& s = *work.sequence;
      std::string item = name_of(s) + " " + std::to_string(s.computed);
      if (work.count > 1) item += ".." + std::to_string(s.computed + work.count - 1);
      const bool admitted = std::ranges::find(plan.admitted, &s) != plan.admitted.end();
      if (admitted && s.computed > 0) item += " reusing " + std::to_string(s.computed);
      add(item);
    }
    return text.empty() ? "nothing" : text;
  }

  void step(const std::string& want) {
    std::map<testing::ChoiceKey, bool> over;
    for (const auto& [key, heard] : harness_->recorder->heard) {
      over[key] = heard.finish != protocol::FinishReason::kNone;
    }
    harness_->loop.step();
    EXPECT_EQ(plan_, want);
    ended_.clear();
    for (const auto& [key, heard] : harness_->recorder->heard) {
      if (heard.finish == protocol::FinishReason::kNone || over[key]) continue;
      const std::string& name = names_[key.first];
      ended_ += (ended_.empty() ? "" : ", ") + name +
                (known_[name].n == 1 ? "" : "." + std::to_string(key.second)) + " " +
                protocol::name_of(heard.finish);
    }
  }

  void expect_ended(const std::string& want) { EXPECT_EQ(ended_, want); }

  std::unique_ptr<Harness> harness_;
  std::map<std::string, Known> known_;
  std::map<RequestId, std::string> names_;
  std::string plan_;
  std::string ended_;
};

std::vector<std::filesystem::path> scenario_files() {
  std::vector<std::filesystem::path> files;
  const std::filesystem::path folder = BRAID_SOURCE_DIR "/tests/scenarios/scheduler";
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".txt") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

class SchedulerScenario : public ::testing::TestWithParam<std::filesystem::path> {};

TEST_P(SchedulerScenario, goes_as_written) { Scenario().play(GetParam()); }

INSTANTIATE_TEST_SUITE_P(Files,
                         SchedulerScenario,
                         ::testing::ValuesIn(scenario_files()),
                         [](const auto& info) { return info.param.stem().string(); });

}  // namespace
}  // namespace braid::engine
