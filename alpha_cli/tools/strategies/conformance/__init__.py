"""`alpha strategies check`: does a strategy keep to the contract of `alpha_cli.stages.run_strategy.protocols`?

Every check is a function from a `Subject` to why it holds; it raises `Verdict` for anything else. They
run one after another in a process of their own, because a strategy may hang or crash and an audit hook
cannot be taken away again. Each verdict comes back at once, as a line of JSON.

What is asked, it is asked of the runner that `run-strategy` has, on ticks that have the fields which the
strategy declares and no others. Its orders are filled at once, so that it has positions to look at.
"""
