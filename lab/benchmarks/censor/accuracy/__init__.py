"""How often the censor errs: flows through each shipped profile, and what became of them, beside what it claims.

`payloads` makes what clients send first, `truths` says for each profile which flows it is to hit and how, `flows` runs
them on the client against `server`; `inside` puts profile after profile between the two; `results` counts what was
missed and what was hit by mistake, `binomial` says what chance explains.
"""
