// SPDX-License-Identifier: Apache-2.0
// main of a fuzz target without libFuzzer: NAME_fuzz RUNS SEEDS runs the files of the folder SEEDS
// and RUNS mutations of them, the same every time.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

std::vector<std::string> read_seeds(const char* folder) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> seeds;
  for (const auto& path : paths) {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    seeds.push_back(std::move(text).str());
  }
  return seeds;
}

// A piece of one of the seeds.
std::string piece(const std::vector<std::string>& seeds, std::mt19937& random) {
  const std::string& from = seeds[random() % seeds.size()];
  return from.substr(random() % (from.size() + 1), random() % 24);
}

std::string mutate(const std::vector<std::string>& seeds, std::mt19937& random) {
  std::string bytes = seeds[random() % seeds.size()];
  for (int edits = 1 + static_cast<int>(random() % 4); edits > 0; --edits) {
    const std::size_t at = random() % (bytes.size() + 1);
    switch (random() % 5) {
      case 0: bytes.insert(at, 1, static_cast<char>(random())); break;
      case 1: bytes.erase(at, 1 + random() % 8); break;
      case 2: bytes.insert(at, piece(seeds, random)); break;
      case 3: bytes.replace(at, random() % 8, piece(seeds, random)); break;
      case 4: if (at < bytes.size()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8)); break;
    }
  }
  return bytes;
}

void run(const std::string& input) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const auto seeds = read_seeds(argv[2]);
  if (seeds.empty()) return 2;
  for (const auto& seed : seeds) run(seed);
  std::mt19937 random(1);
  const long runs = std::atol(argv[1]);
  for (long i = 0; i < runs; ++i) run(mutate(seeds, random));
  std::printf("%zu seeds and %ld mutations\n", seeds.size(), runs);
}
