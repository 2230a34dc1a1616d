//! Other people's reader of an ITCH stream, the crate `itch5`, compared field by field with our own reading. The
//! test with a real node includes this file too.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::ops::ControlFlow;

use ironbell_wire::itch::{self, Message};
use itch5::messages as theirs;

/// The messages as both readers want them: each behind its length in two bytes.
pub fn framed(messages: &[Vec<u8>]) -> Vec<u8> {
    messages
        .iter()
        .flat_map(|message| [&(message.len() as u16).to_be_bytes(), &message[..]].concat())
        .collect()
}

/// Holds what we read, and compares it with what `itch5` reads.
struct Agreement<'a>(VecDeque<Message<'a>>);

fn assert_agree(message: Message<'_>, field: &str, theirs: impl Debug, ours: impl Debug) {
    // Some of their codes compare by their text only.
    assert_eq!(format!("{theirs:?}"), format!("{ours:?}"), "{field} of {message:?}");
}

/// Symbols by their own constructor.
fn symbol(text: [u8; 8]) -> theirs::Symbol {
    theirs::Symbol::from_u64(u64::from_be_bytes(text))
}

/// What their reader makes of our trading state and reason.
fn reason(ours: &itch::StockTradingAction) -> theirs::TradingActionReason {
    use theirs::{
        TradingActionReason as Reason, TradingHaltReason as Halt, TradingResumptionReason as Resumption,
    };
    match ours.trading_state {
        b'H' => Reason::Halted(Halt::from_bytes(&ours.reason)),
        b'P' => Reason::Paused(Halt::from_bytes(&ours.reason)),
        b'Q' => Reason::QuotationOnly(Resumption::from_bytes(&ours.reason)),
        b'T' => Reason::Trading(Resumption::from_bytes(&ours.reason)),
        state => Reason::Unknown { state, reason_bytes: ours.reason },
    }
}

/// The letter behind their code, which has no text of its own.
fn authenticity(code: &theirs::Authenticity) -> u8 {
    match code {
        theirs::Authenticity::LiveProduction => b'P',
        theirs::Authenticity::Test => b'T',
        theirs::Authenticity::Unknown(letter) => *letter,
    }
}

/// As [`authenticity`].
fn mode(code: &theirs::MarketMakerMode) -> u8 {
    match code {
        theirs::MarketMakerMode::Normal => b'N',
        theirs::MarketMakerMode::Passive => b'P',
        theirs::MarketMakerMode::Syndicate => b'S',
        theirs::MarketMakerMode::PreSyndicate => b'R',
        theirs::MarketMakerMode::Penalty => b'L',
        theirs::MarketMakerMode::Unknown(letter) => *letter,
    }
}

/// Implements their handler: each of their messages is compared with the next of ours, field by field.
macro_rules! agreement {
    ($($handler:ident $theirs:ident $ours:ident $locate:ident |$t:ident, $o:ident| { $($field:expr => $value:expr,)* })*) => {
        impl itch5::MessageHandler for Agreement<'_> {
            $(fn $handler(&mut self, $t: &theirs::$theirs) -> ControlFlow<()> {
                let message = self.0.pop_front().expect("they do not read more messages than there are");
                let Message::$ours($o) = message else { panic!("they read {:?}, we {message:?}", $t) };
                assert_agree(message, "stock_locate", $t.$locate(), $o.stock_locate.get());
                assert_agree(message, "tracking_number", $t.tracking_number(), $o.tracking_number.get());
                assert_agree(message, "timestamp", $t.timestamp().to_u64(), $o.timestamp.get());
                $(assert_agree(message, stringify!($field), $field, $value);)*
                ControlFlow::Continue(())
            })*
        }
    };
}

agreement! {
    on_system_event SystemEvent SystemEvent stock_locate |t, o| {
        t.event_code() => theirs::SystemEventCode::from_byte(o.event_code),
    }
    on_stock_directory StockDirectory StockDirectory stock_locate |t, o| {
        t.stock() => symbol(o.stock),
        t.market_category() => theirs::MarketCategory::from_byte(o.market_category),
        t.financial_status_indicator() => theirs::FinancialStatusIndicator::from_byte(o.financial_status),
        t.round_lot_size() => o.round_lot_size.get(),
        t.round_lots_only() => theirs::RoundLotsOnly::from_byte(o.round_lots_only),
        t.issue_classification() => theirs::IssueClassificationCode::from_byte(o.issue_classification),
        t.issue_sub_type() => theirs::IssueSubTypeCode::from_bytes(o.issue_sub_type),
        authenticity(&t.authenticity()) => o.authenticity,
        t.short_sale_threshold_indicator() => theirs::ShortSaleThresholdIndicator::from_byte(o.short_sale_threshold),
        t.ipo_flag() => theirs::IpoFlag::from_byte(o.ipo_flag),
        t.luld_reference_price_tier() => theirs::LuldReferencePriceTier::from_byte(o.luld_ref_price_tier),
        t.etp_flag() => theirs::EtpFlag::from_byte(o.etp_flag),
        t.etp_leverage_factor() => o.etp_leverage_factor.get(),
        t.inverse_indicator() => theirs::InverseIndicator::from_byte(o.inverse_indicator),
    }
    on_stock_trading_action StockTradingAction StockTradingAction stock_locate |t, o| {
        t.stock() => symbol(o.stock),
        t.trading_state() => theirs::TradingState::from_byte(o.trading_state),
        t.reserved() => o.reserved,
        t.reason() => reason(o),
    }
    on_reg_sho_restriction RegSHORestriction RegShoRestriction locate_code |t, o| {
        t.stock() => symbol(o.stock),
        t.reg_sho_action() => theirs::RegShoAction::from_byte(o.reg_sho_action),
    }
    on_market_participant_position MarketParticipantPosition MarketParticipantPosition stock_locate |t, o| {
        t.mpid() => o.mpid,
        t.stock() => symbol(o.stock),
        t.primary_market_maker() => theirs::PrimaryMarketMaker::from_byte(o.primary_market_maker),
        mode(&t.market_maker_mode()) => o.market_maker_mode,
        t.market_participant_state() => theirs::MarketParticipantState::from_byte(o.market_participant_state),
    }
    on_mwcb_decline_level MWCBDeclineLevel MwcbDeclineLevel stock_locate |t, o| {
        t.level_1().into_u64() => o.level_1.get(),
        t.level_2().into_u64() => o.level_2.get(),
        t.level_3().into_u64() => o.level_3.get(),
    }
    on_mwcb_status MWCBStatus MwcbStatus stock_locate |t, o| {
        t.breached_level() => theirs::BreachedLevel::from_byte(o.breached_level),
    }
    on_quoting_period_update QuotingPeriodUpdate IpoQuotingPeriodUpdate stock_locate |t, o| {
        t.stock() => symbol(o.stock),
        t.ipo_quotation_release_time() => o.release_time.get(),
        t.ipo_quotation_release_qualifier() => theirs::IpoQuotationReleaseQualifier::from_byte(o.release_qualifier),
        t.ipo_price().into_u32() => o.ipo_price.get(),
    }
    on_luld_auction_collar LULDAuctionCollar LuldAuctionCollar stock_locate |t, o| {
        t.stock() => symbol(o.stock),
        t.auction_collar_reference_price().into_u32() => o.collar_reference_price.get(),
        t.upper_auction_collar_price().into_u32() => o.upper_collar_price.get(),
        t.lower_auction_collar_price().into_u32() => o.lower_collar_price.get(),
        t.auction_collar_extension().into_u32() => o.collar_extension.get(),
    }
    on_operational_halt OperationalHalt OperationalHalt stock_locate |t, o| {
        t.stock() => symbol(o.stock),
        t.market_code() => theirs::MarketCode::from_byte(o.market_code),
        t.operational_halt_action() => theirs::OperationalHaltAction::from_byte(o.halt_action),
    }
    on_add_order_no_mpid_attribution AddOrderNoMPIDAttribution AddOrder stock_locate |t, o| {
        t.order_reference_number() => o.order_reference.get(),
        t.buy_sell_indicator() => theirs::BuySellIndicator::from_byte(o.buy_sell),
        t.shares() => o.shares.get(),
        t.stock() => symbol(o.stock),
        t.price().into_u32() => o.price.get(),
    }
    on_add_order_with_mpid_attribution AddOrderWithMPIDAttribution AddOrderMpid stock_locate |t, o| {
        t.order_reference_number() => o.order_reference.get(),
        t.buy_sell_indicator() => theirs::BuySellIndicator::from_byte(o.buy_sell),
        t.shares() => o.shares.get(),
        t.stock() => symbol(o.stock),
        t.price().into_u32() => o.price.get(),
        t.attribution() => o.attribution,
    }
    on_order_executed OrderExecuted OrderExecuted stock_locate |t, o| {
        t.order_reference_number() => o.order_reference.get(),
        t.executed_shares() => o.executed_shares.get(),
        t.match_number() => o.match_number.get(),
    }
    on_order_executed_with_price OrderExecutedWithPrice OrderExecutedWithPrice stock_locate |t, o| {
        t.order_reference_number() => o.order_reference.get(),
        t.executed_shares() => o.executed_shares.get(),
        t.match_number() => o.match_number.get(),
        t.printable() => theirs::Printable::from_byte(o.printable),
        t.execution_price().into_u32() => o.execution_price.get(),
    }
    on_order_cancel OrderCancel OrderCancel stock_locate |t, o| {
        t.order_reference_number() => o.order_reference.get(),
        t.cancelled_shares() => o.cancelled_shares.get(),
    }
    on_order_delete OrderDelete OrderDelete stock_locate |t, o| {
        t.order_reference_number() => o.order_reference.get(),
    }
    on_order_replace OrderReplace OrderReplace stock_locate |t, o| {
        t.original_order_reference_number() => o.original_order_reference.get(),
        t.new_order_reference_number() => o.new_order_reference.get(),
        t.shares() => o.shares.get(),
        t.price().into_u32() => o.price.get(),
    }
    on_trade Trade Trade stock_locate |t, o| {
        t.order_reference_number() => o.order_reference.get(),
        t.buy_sell_indicator() => theirs::BuySellIndicator::from_byte(o.buy_sell),
        t.shares() => o.shares.get(),
        t.stock() => symbol(o.stock),
        t.price().into_u32() => o.price.get(),
        t.match_number() => o.match_number.get(),
    }
    on_cross_trade CrossTrade CrossTrade stock_locate |t, o| {
        t.shares() => o.shares.get(),
        t.stock() => symbol(o.stock),
        t.cross_price().into_u32() => o.cross_price.get(),
        t.match_number() => o.match_number.get(),
        t.cross_type() => theirs::CrossType::from_byte(o.cross_type),
    }
    on_broken_trade BrokenTrade BrokenTrade stock_locate |t, o| {
        t.match_number() => o.match_number.get(),
    }
    on_net_order_imbalance_indicator NetOrderImbalanceIndicator Noii stock_locate |t, o| {
        t.paired_shares() => o.paired_shares.get(),
        t.imbalance_shares() => o.imbalance_shares.get(),
        t.imbalance_direction() => theirs::ImbalanceDirection::from_byte(o.imbalance_direction),
        t.stock() => symbol(o.stock),
        t.far_price().into_u32() => o.far_price.get(),
        t.near_price().into_u32() => o.near_price.get(),
        t.current_reference_price().into_u32() => o.current_ref_price.get(),
        t.cross_type() => theirs::CrossType::from_byte(o.cross_type),
        t.price_variation_indicator() => theirs::PriceVariationIndicator::from_byte(o.price_variation),
    }
    on_retail_price_improvement_indicator RetailPriceImprovementIndicator RetailPriceImprovementIndicator stock_locate |t, o| {
        t.stock() => symbol(o.stock),
        t.interest_flag() => theirs::InterestFlag::from_byte(o.interest_flag),
    }
    on_direct_listing_with_capital_raise_price_discovery DirectListingwithCapitalRaisePriceDiscovery
    DirectListingWithCapitalRaise stock_locate |t, o| {
        t.stock() => symbol(o.stock),
        t.open_eligibility_status() => theirs::OpenEligibilityStatus::from_byte(o.open_eligibility),
        t.minimum_allowable_price().into_u32() => o.min_allowable_price.get(),
        t.maximum_allowable_price().into_u32() => o.max_allowable_price.get(),
        t.near_execution_price().into_u32() => o.near_execution_price.get(),
        t.near_execution_time() => o.near_execution_time.get(),
        t.lower_price_range_collar().into_u32() => o.lower_collar.get(),
        t.upper_price_range_collar().into_u32() => o.upper_collar.get(),
    }
}

/// `itch5` reads these messages and agrees on every field.
///
/// # Panics
/// When it does not.
pub fn assert_itch5_agrees(messages: &[Vec<u8>]) {
    let ours = messages.iter().map(|bytes| Message::parse(bytes).expect("it is whole")).collect();
    let mut agreement = Agreement(ours);
    itch5::Parser::new(&framed(messages)).parse_stream(&mut agreement).expect("they read every message");
    assert_eq!(agreement.0, [], "they read every message");
}
