// SPDX-License-Identifier: Apache-2.0
// For tests of the layer: a server whose model babbles in the tokens of the default model, so that what
// comes out right is the doing of constraints.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "serve/testing/server_fixture.h"

namespace braid::serve::testing {

class BabblingFixture : public ServerFixture {
 protected:
  using Json = nlohmann::ordered_json;

  void start(const Settings& settings = {}, const std::string& chat_template = kTemplate);

  net::ClientResponse post(const std::string& path, const Json& body) {
    return fetch({.method = "POST", .target = path, .body = body.dump()});
  }

  // The data of a stream's events that are JSON.
  static std::vector<Json> events(const std::string& body) {
    std::istringstream lines(body);
    std::vector<Json> found;
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("data: {")) found.push_back(Json::parse(line.substr(6)));
    }
    return found;
  }

  std::function<void()> before_step_;  // of the model, if set before start()

  static constexpr const char* kTemplate = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}";
};

}  // namespace braid::serve::testing
