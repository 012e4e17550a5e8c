"""Attachments: files of up to 64 MB, in pieces, in a lane of their own behind the messages.

- `client.attachments.pieces`: what the pieces say, and names that are safe to use (Sans-IO).
- `client.attachments.lane`: the sender's lane: one attachment after the other, a few pieces under way (Sans-IO).
- `client.attachments.source`: the file that is sent.
- `client.attachments.incoming`: the receiver's `.part` files.

The lane is a session of its own, whose ids are the pieces: the offer, then the chunks in order. So the delivery of
messages is also what resumes an attachment, across paths and across lives of either end.
"""
