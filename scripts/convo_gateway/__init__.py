"""An HTTP gateway to convod: the conversation API and OpenAI's audio API, for programs that speak those already.

It is a client like any other: it reaches the daemon through `convo` alone, with the token that its own client sent.
"""
