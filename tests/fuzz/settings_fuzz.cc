// SPDX-License-Identifier: Apache-2.0
// Any text as configuration file and command line of `braid serve`: an error, or settings that are
// valid. What precedes the first line "--" is the file in YAML, each line after it one word.
#include "app/settings.h"
#include "config/parse.h"
#include "require.h"
#include "text/yaml.h"

namespace {

using namespace braid;

constexpr std::string_view kEndOfFile = "\n--\n";

std::vector<std::string> lines(std::string_view text) {
  std::vector<std::string> found;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    found.emplace_back(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return found;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t end = input.find(kEndOfFile);
  const std::string file(input.substr(0, end));
  auto words = end == std::string_view::npos ? std::vector<std::string>() : lines(input.substr(end + kEndOfFile.size()));
  words.insert(words.begin(), {"--config", "serve.yaml"});

  config::ParseOptions options;
  options.yaml_to_json = text::yaml_to_json;
  options.read_file = [&](const std::string&) -> Result<std::string> { return file; };
  options.positional_fields = {"model"};
  app::ServeSettings settings;
  const auto parsed = config::parse(settings, words, options);
  if (!parsed.ok()) {
    require(!parsed.error().message.empty(), "an error says something");
    return 0;
  }
  const auto table = config::table_of(settings);
  require(config::validate_table(table).ok(), "what was accepted is valid");
  for (const auto& field : table.fields) require(!config::print_value(field).empty(), "every value can be printed");
  return 0;
}
