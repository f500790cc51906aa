// SPDX-License-Identifier: GPL-2.0
// What the compiler is given: two objects of this file, -DPART=1 and -DPART=2.
// The program prints "words 4096 distinct 1021".
#include <map>
#include <string>
#include <vector>

#if PART == 1
#include <cstdio>
#include <set>

std::map<std::string, int> count(const std::vector<std::string> &words);

int main()
{
	std::vector<std::string> words;

	for (int i = 0; i < 4096; i++)
		words.push_back("word" + std::to_string(i % 1021));
	std::set<std::string> distinct;
	int sum = 0;
	for (const auto &[word, n] : count(words)) {
		distinct.insert(word);
		sum += n;
	}
	std::printf("words %d distinct %zu\n", sum, distinct.size());
}
#else
#include <unordered_map>

std::map<std::string, int> count(const std::vector<std::string> &words)
{
	std::unordered_map<std::string, int> table;

	for (const std::string &w : words)
		table[w]++;
	return std::map<std::string, int>(table.begin(), table.end());
}
#endif
