"""`alpha status`: what the stages of a state folder do, for people, programs and monitors."""
