"""What open pages and programs are told while runs go on.

One hub a process: a change is loaded once, rendered once for each language and role that is looking, and sent to
all who look. `socket` is one connection, `outbox` what waits to be sent on it, `pace` how often, `hub` the meeting
point, `job`, `rollouts` and `updates` what is shown, `render` the database's and the templates' part of it.
`playback` is a run once more, at the pace of `tempo`, steered by `actions`.
"""
