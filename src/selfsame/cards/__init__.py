"""Character cards of the chat world -> who the bot is: name, traits, greeting, scene."""
