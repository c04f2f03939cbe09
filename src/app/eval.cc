// SPDX-License-Identifier: Apache-2.0
// braid eval perplexity and braid eval choices: what a model thinks of texts, from the
// log-probabilities of their tokens.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "app/commands.h"
#include "app/parse.h"
#include "app/token_scorer.h"
#include "config/reference.h"

namespace braid::app {
namespace {

using Json = nlohmann::ordered_json;

struct EvalSettings {
  std::string file;
  std::string url;
  std::string api_key;
  int window = 1024;
  int overlap = 256;
  int limit = 0;
  ModelSettings model;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("file", self.file, {.help = "Text, or JSON lines"});
    v.field("url", self.url, {.help = "Server to ask, --model is then a name it knows; unset: --model is loaded here, or without that http://localhost:8000 asked"});
    v.field("api-key", self.api_key, {.help = "Key, if the server wants one", .environment = "OPENAI_API_KEY"});
    v.field("window", self.window, {.help = "Longest piece that is scored at once", .unit = "tokens", .min = 2});
    v.field("overlap", self.overlap, {.help = "Tokens of the piece before that are seen but not scored again", .unit = "tokens", .min = 1});
    v.field("limit", self.limit, {.help = "Documents or questions to take; 0: all", .min = 0});
    v.group("Model", self.model);
  }
};

Result<std::unique_ptr<TokenScorer>> scorer_of(const EvalSettings& settings) {
  if (settings.url.empty() && !settings.model.model.empty()) return local_scorer(settings.model, settings.window);
  return served_scorer({settings.url.empty() ? "http://localhost:8000" : settings.url, settings.model.model, settings.api_key});
}

Result<std::string> content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return Error{ErrorCode::kNotFound, "can't read " + path, "file"};
  std::ostringstream text;
  text << file.rdbuf();
  return std::move(text).str();
}

// The objects of JSON lines, each with the members that are needed.
Result<std::vector<Json>> rows(const EvalSettings& settings, std::initializer_list<const char*> members) {
  ASSIGN_OR_RETURN(const std::string text, content(settings.file));
  std::istringstream lines(text);
  std::vector<Json> found;
  int number = 0;
  for (std::string line; std::getline(lines, line) && (settings.limit == 0 || static_cast<int>(found.size()) < settings.limit);) {
    ++number;
    if (line.empty()) continue;
    Json row = Json::parse(line, nullptr, false);
    for (const char* member : members) {
      if (row.is_object() && row.contains(member)) continue;
      return invalid_argument(settings.file + " line " + std::to_string(number) + ": expected an object with \"" + member + "\"", "file");
    }
    found.push_back(std::move(row));
  }
  return found;
}

Result<std::vector<std::string>> documents(const EvalSettings& settings) {
  if (!settings.file.ends_with(".jsonl")) {
    ASSIGN_OR_RETURN(std::string text, content(settings.file));
    return std::vector{std::move(text)};
  }
  ASSIGN_OR_RETURN(const auto found, rows(settings, {"text"}));
  std::vector<std::string> texts;
  for (const Json& row : found) texts.push_back(row["text"].is_string() ? row["text"].get<std::string>() : row["text"].dump());
  return texts;
}

Status perplexity(const EvalSettings& settings) {
  if (settings.overlap >= settings.window) return invalid_argument("--overlap must be below --window", "overlap");
  ASSIGN_OR_RETURN(const auto texts, documents(settings));
  ASSIGN_OR_RETURN(const auto scorer, scorer_of(settings));
  std::vector<Tokens> pieces;
  std::vector<std::size_t> seen;  // tokens of each piece that are scored elsewhere
  for (const std::string& text : texts) {
    ASSIGN_OR_RETURN(const Tokens all, scorer->tokens_of(text));
    const auto window = static_cast<std::size_t>(settings.window), overlap = static_cast<std::size_t>(settings.overlap);
    for (std::size_t first = 0; first + 1 < all.size(); first += window - overlap) {
      const auto begin = all.begin() + static_cast<std::ptrdiff_t>(first);
      pieces.emplace_back(begin, begin + static_cast<std::ptrdiff_t>(std::min(window, all.size() - first)));
      seen.push_back(first == 0 ? 1 : overlap);
      if (first + window >= all.size()) break;
    }
  }
  ASSIGN_OR_RETURN(const auto scores, scorer->score(pieces));
  double sum = 0;
  std::size_t count = 0;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    for (std::size_t t = seen[i] - 1; t < scores[i].size(); ++t) sum += scores[i][t], ++count;
  }
  if (count == 0) return invalid_argument(settings.file + " has no tokens to score", "file");
  const double mean = -sum / static_cast<double>(count);
  std::printf("documents %zu\ntokens %zu\nnats per token %.6f\nperplexity %.4f\n", texts.size(), count, mean, std::exp(mean));
  return {};
}

Status check_question(const Json& question) {
  const Json& choices = question["choices"];
  const bool texts = choices.is_array() && !choices.empty() && std::all_of(choices.begin(), choices.end(), [](const Json& c) { return c.is_string(); });
  const bool fits = question["prompt"].is_string() && texts && question["answer"].is_number_unsigned() && question["answer"].get<std::size_t>() < choices.size();
  return fits ? Status() : invalid_argument("expected a text as prompt, a list of texts as choices and the number of one, from 0 on, as answer, found " + question.dump().substr(0, 200), "file");
}

// The choice with the largest score.
std::size_t best(const std::vector<double>& scores) {
  return static_cast<std::size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
}

Status choices(const EvalSettings& settings) {
  ASSIGN_OR_RETURN(const auto questions, rows(settings, {"prompt", "choices", "answer"}));
  ASSIGN_OR_RETURN(const auto scorer, scorer_of(settings));
  std::size_t right = 0, right_by_length = 0;
  for (const Json& question : questions) {
    RETURN_IF_ERROR(check_question(question));
    const auto prompt = question["prompt"].get<std::string>();
    ASSIGN_OR_RETURN(const Tokens before, scorer->tokens_of(prompt));
    std::vector<Tokens> sequences;
    for (const Json& choice : question["choices"]) {
      ASSIGN_OR_RETURN(Tokens tokens, scorer->tokens_of(prompt + choice.get<std::string>()));
      sequences.push_back(std::move(tokens));
    }
    ASSIGN_OR_RETURN(const auto scores, scorer->score(sequences));
    std::vector<double> sums, by_length;
    for (std::size_t i = 0; i < scores.size(); ++i) {
      const auto same = std::mismatch(before.begin(), before.end(), sequences[i].begin(), sequences[i].end()).first - before.begin();
      double sum = 0;
      for (std::size_t t = static_cast<std::size_t>(std::max<std::ptrdiff_t>(same, 1)) - 1; t < scores[i].size(); ++t) sum += scores[i][t];
      sums.push_back(sum);
      by_length.push_back(sum / static_cast<double>(std::max<std::size_t>(1, question["choices"][i].get<std::string>().size())));
    }
    const auto answer = question["answer"].get<std::size_t>();
    right += best(sums) == answer;
    right_by_length += best(by_length) == answer;
  }
  if (questions.empty()) return invalid_argument(settings.file + " has no questions", "file");
  const auto all = static_cast<double>(questions.size());
  std::printf("questions %zu\naccuracy %.4f\naccuracy by length %.4f\n", questions.size(), static_cast<double>(right) / all, static_cast<double>(right_by_length) / all);
  return {};
}

int evaluate(Words words, const char* usage, const char* about, Status (*run)(const EvalSettings&)) {
  EvalSettings settings;
  auto options = parse_options();
  options.positional_fields = {"file"};
  const auto parsed = config::parse(settings, words, options);
  if (!parsed.ok()) return fail(parsed.error());
  if (parsed->help) {
    std::puts(config::help<EvalSettings>({usage, about, ""}).c_str());
    return 0;
  }
  if (settings.file.empty()) return fail(invalid_argument(std::string("no file is named: ") + usage, "file"));
  const Status status = run(settings);
  return status.ok() ? 0 : fail(status.error());
}

int eval_perplexity(Words words) {
  return evaluate(words, "braid eval perplexity FILE [flags]",
                  "How well a model foretells a text, or each \"text\" of a file FILE.jsonl: e to the mean surprise per token.", perplexity);
}

int eval_choices(Words words) {
  return evaluate(words, "braid eval choices FILE [flags]",
                  "How often a model finds the right one of {\"prompt\", \"choices\", \"answer\": number} likeliest, by the sum of "
                  "log-probabilities and by that sum over the choice's length in bytes.", choices);
}

constexpr Command kEvaluations[] = {
    {"perplexity", "how well a model foretells a text", eval_perplexity},
    {"choices", "how often it finds the right answer likeliest", eval_choices},
};

}  // namespace

int eval(Words words) { return dispatch("braid eval", kEvaluations, words); }

}  // namespace braid::app
