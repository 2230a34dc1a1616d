//! Codecs: SoupBinTCP, OUCH 5.0, ITCH 5.0, MoldUDP64, GLIMPSE 5.0
