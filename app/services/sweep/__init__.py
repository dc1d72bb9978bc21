"""The periodic job of one elected process: it makes every state move on."""
