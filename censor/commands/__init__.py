"""The commands of `sidedoor censor` that need no kernel: they read rules, lists and captures, and print.

- `selection`: which rules and lists a command is about, from its options.
- `replay`: judge a capture.
- `catalogue`: the shipped profiles; what one of them, or a rules file, does.
- `check`: read a rules file and its lists.
- `properties`: what conditions can ask for.
- `tables`: how all of them print on wide and narrow terminals.
"""
