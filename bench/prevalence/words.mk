# SPDX-License-Identifier: GPL-2.0
words: one.o two.o
	g++ -o $@ $^
one.o: words.cc
	g++ -DPART=1 -c -o $@ $<
two.o: words.cc
	g++ -DPART=2 -c -o $@ $<
