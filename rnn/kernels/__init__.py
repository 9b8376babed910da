"""Recurrences in C++: what no library does well. Each path is proved equal to `rnn.cells`."""
