"""`alpha strategies check`: checks that a strategy keeps the contract of `run_strategy.protocols`.

Every check is a function that is given a `Subject`. It returns why the strategy passes, and raises `Verdict` for
any other outcome. Checks run one after another in a process of their own, because a strategy may hang or crash and
an audit hook cannot be removed. Each result is sent back at once, as a line of JSON.

The strategy runs in the runner of `run-strategy`, on ticks with the fields that it declares and no others. Its
orders are filled at once, so that it has positions.
"""
