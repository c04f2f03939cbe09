// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <nlohmann/json.hpp>

#include "app/token_scorer.h"
#include "net/http_client.h"

namespace braid::app {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kPromptsPerRequest = 16;

class ServedScorer final : public TokenScorer {
 public:
  ServedScorer(ServedModel served, const net::Url& url)
      : served_(std::move(served)), base_(url.base), client_(net::HttpClient::create(url.host, url.port, 1)) {}

  Result<Tokens> tokens_of(const std::string& text) override {
    ASSIGN_OR_RETURN(const Json answer, post("/tokenize", {{"prompt", text}}));
    const Json tokens = answer.value("tokens", Json());
    const bool ids = tokens.is_array() && std::all_of(tokens.begin(), tokens.end(), [](const Json& id) { return id.is_number_integer(); });
    return ids ? Result<Tokens>(tokens.get<Tokens>()) : internal_error("/tokenize answered without tokens");
  }

  Result<std::vector<std::vector<double>>> score(const std::vector<Tokens>& sequences) override {
    std::vector<std::vector<double>> scores;
    for (std::size_t first = 0; first < sequences.size(); first += kPromptsPerRequest) {
      Json prompts = Json::array();
      for (std::size_t i = first; i < std::min(sequences.size(), first + kPromptsPerRequest); ++i) prompts.push_back(sequences[i]);
      ASSIGN_OR_RETURN(const Json answer, post("/v1/completions", {{"prompt", prompts}, {"max_tokens", 1}, {"temperature", 0}, {"prompt_logprobs", 0}}));
      for (std::size_t i = 0; i < prompts.size(); ++i) {
        const Json::json_pointer place("/choices/" + std::to_string(i) + "/prompt_logprobs");
        ASSIGN_OR_RETURN(auto logprobs, logprobs_in(answer.contains(place) ? answer.at(place) : Json(), sequences[first + i]));
        scores.push_back(std::move(logprobs));
      }
    }
    return scores;
  }

 private:
  Result<Json> post(const std::string& path, Json body) {
    if (!served_.model.empty()) body["model"] = served_.model;
    net::ClientRequest request{.method = "POST", .target = base_ + path, .headers = {}, .body = body.dump(-1, ' ', false, Json::error_handler_t::replace)};
    if (!served_.api_key.empty()) request.headers.push_back({"Authorization", "Bearer " + served_.api_key});
    const auto response = client_->fetch(std::move(request));
    if (!response.ok()) return response.error().within("no answer from " + served_.url);
    const Json answer = Json::parse(response->body, nullptr, false);
    if (response->status == 200 && answer.is_object()) return answer;
    return internal_error(path + " answered " + std::to_string(response->status) + ": " + response->body.substr(0, 300));
  }

  static Result<std::vector<double>> logprobs_in(const Json& positions, const Tokens& tokens) {
    std::vector<double> logprobs;
    for (std::size_t i = 1; i < tokens.size(); ++i) {
      const Json::json_pointer place("/" + std::to_string(i) + "/" + std::to_string(tokens[i]) + "/logprob");
      const Json logprob = positions.contains(place) ? positions.at(place) : Json();
      if (!logprob.is_number()) return internal_error("the server answered without prompt_logprobs");
      logprobs.push_back(logprob.get<double>());
    }
    return logprobs;
  }

  const ServedModel served_;
  const std::string base_;
  std::unique_ptr<net::HttpClient> client_;
};

}  // namespace

Result<std::unique_ptr<TokenScorer>> served_scorer(ServedModel served) {
  ASSIGN_OR_RETURN(const net::Url url, net::parse_url(served.url));
  return std::unique_ptr<TokenScorer>(std::make_unique<ServedScorer>(std::move(served), url));
}

}  // namespace braid::app
