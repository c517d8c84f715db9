"""The `convo` command: captions, transcripts and summaries from a shell."""
