//! Market data out: ITCH over MoldUDP64 and SoupBinTCP, re-requests, GLIMPSE
