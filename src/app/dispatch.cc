// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <vector>

#include "app/commands.h"
#include "config/suggest.h"

namespace braid::app {
namespace {

int usage(std::FILE* out, const std::string& program, std::span<const Command> commands) {
  std::fprintf(out, "usage: %s COMMAND [arguments]\n\n", program.c_str());
  for (const auto& command : commands) {
    if (command.help.empty()) continue;
    std::fprintf(out, "  %-8s %s\n", std::string(command.name).c_str(), std::string(command.help).c_str());
  }
  std::fprintf(out, "\n%s COMMAND --help says more.\n", program.c_str());
  return out == stdout ? 0 : 2;
}

}  // namespace

bool is_help(const std::string& word) { return word == "--help" || word == "-h"; }

int dispatch(const std::string& program, std::span<const Command> commands, Words words) {
  if (words.empty()) return usage(stderr, program, commands);
  if (is_help(words[0]) || words[0] == "help") return usage(stdout, program, commands);
  std::vector<std::string> names;
  for (const auto& command : commands) {
    if (command.name == words[0]) return command.run(words.subspan(1));
    if (!command.help.empty()) names.emplace_back(command.name);
  }
  const std::string near = config::nearest(words[0], names);
  return fail(invalid_argument("there is no command '" + words[0] + "'; " +
                               (near.empty() ? program + " --help lists them" : "did you mean " + program + " " + near + "?")));
}

int fail(const Error& error) {
  std::fprintf(stderr, "braid: %s\n", error.message.c_str());
  return error.code == ErrorCode::kInvalidArgument ? 2 : 1;
}

}  // namespace braid::app
