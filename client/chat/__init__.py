"""A chat in a terminal: both ends in one (`client.messenger`), and what a person sees of it.

- `client.chat.conversation`: what was said, and how far each own line has come (Sans-IO).
- `client.chat.typed`: what a typed line means (Sans-IO).
- `client.chat.session`: the driver between messenger, conversation and screen.
- `client.chat.cli`: the command.
- `client.chat.plain`, `client.chat.terminal`: the screens, without and with a terminal.
"""
