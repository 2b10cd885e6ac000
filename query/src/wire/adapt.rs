//! What PostgreSQL's clients write that the engine does not read, said in its words.
//!
//! It works on the parsed statement, before the engine checks and plans it. What is known of the catalogue, and would be
//! wrong of anything else, is used for statements that ask of the catalogue alone. A statement that names a relation of
//! the ledger keeps its meaning word for word, or is refused by the engine.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    self, BinaryOperator, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, JoinOperator, ObjectName, ObjectNamePart, Query, Select, SelectItem, SetExpr,
    SetOperator, TableFactor, TableWithJoins, Value, Visit, VisitMut, Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::commands::Settings;
use super::values::split_array;
use crate::engine::parse;
use crate::pg_catalog::functions::bare;
use crate::pg_catalog::types::{self, ColumnType};
use crate::pg_catalog::{PG_CATALOG, SCHEMA, has_relation, is_always_empty, relation_oid};

/// Who asks: what functions of the session answer.
pub(super) struct Asker<'s> {
    pub(super) user: &'s str,
    pub(super) process: i32,
    pub(super) settings: &'s Settings,
    /// Types that it gave of the parameters; 0 where it leaves them to the server.
    pub(super) types: &'s [i32],
}

/// The names that PostgreSQL would give the columns of an answer, as far as they are known. Between those at the front and
/// those at the end may be the columns of a `*`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    front: Vec<Option<String>>,
    end: Vec<Option<String>>,
    wild: bool,
}

impl Names {
    /// These names in place of the engine's.
    pub(super) fn of(&self, mut engine: Vec<String>) -> Vec<String> {
        let known = self.front.len() + self.end.len();
        if if self.wild { known > engine.len() } else { known != engine.len() } {
            return engine;
        }
        let unknown = engine.len() - known;
        let known = self.front.iter().chain(std::iter::repeat_n(&None, unknown)).chain(&self.end);
        for (engine, known) in engine.iter_mut().zip(known) {
            if let Some(known) = known {
                engine.clone_from(known);
            }
        }
        engine
    }
}

/// What was seen of a statement's parameters.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parameters {
    /// The highest number.
    pub(super) count: usize,
    /// Those that stand for an array of text as far as can be told, counted from 0.
    pub(super) arrays: Vec<usize>,
}

/// Puts a statement into the engine's words.
pub(super) fn adapt(statement: &mut Statement, asker: &Asker<'_>) -> Parameters {
    match statement {
        Statement::Statement(statement) => {
            // Before anything is left out.
            let mut parameters = Parameters::default();
            let _ = ast::visit_expressions(statement.as_ref(), |expression| {
                if let Expr::Value(value) = expression
                    && let Some(number) = parameter(&value.value)
                {
                    parameters.count = parameters.count.max(number.saturating_add(1));
                }
                ControlFlow::<()>::Continue(())
            });
            let mut adapter = Adapter { asker, parameters, of_catalogue: is_of_catalogue(statement) };
            let _ = VisitMut::visit(statement.as_mut(), &mut adapter);
            adapter.parameters
        }
        Statement::Explain(explain) => adapt(&mut explain.statement, asker),
        _ => Parameters::default(),
    }
}

/// The names that PostgreSQL would give the columns of a statement that was not adapted yet.
pub(super) fn names(statement: &Statement) -> Names {
    let mut names = Names::default();
    let Statement::Statement(statement) = statement else { return names };
    let ast::Statement::Query(query) = statement.as_ref() else { return names };
    let Some(select) = first_select(&query.body) else { return names };
    for item in &select.projection {
        let name = match item {
            SelectItem::UnnamedExpr(expression) => Some(name_of(expression).unwrap_or_else(|| "?column?".to_owned())),
            SelectItem::ExprWithAlias { .. } | SelectItem::ExprWithAliases { .. } => None,
            SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => {
                // What stands between two of them is not known.
                (names.end, names.wild) = (Vec::new(), true);
                continue;
            }
        };
        if names.wild { names.end.push(name) } else { names.front.push(name) }
    }
    names
}

/// Whether a query of the catalogue that cannot be planned has no rows all the same, because what it asks about is not
/// there; then the names of its columns.
pub(super) fn known_to_be_empty(statement: &Statement) -> Option<Vec<String>> {
    let Statement::Statement(inner) = statement else { return None };
    let ast::Statement::Query(query) = inner.as_ref() else { return None };
    if !is_of_catalogue(inner) || !is_empty(query) {
        return None;
    }
    let names = first_select(&query.body)?.projection.iter().map(|item| match item {
        SelectItem::UnnamedExpr(expression) => Some(name_of(expression).unwrap_or_else(|| "?column?".to_owned())),
        SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
        _ => None,
    });
    names.collect()
}

fn first_select(body: &SetExpr) -> Option<&Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::Query(query) => first_select(&query.body),
        SetExpr::SetOperation { left, .. } => first_select(left),
        _ => None,
    }
}

fn name_of(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Identifier(name) => Some(folded(name)),
        Expr::CompoundIdentifier(names) => names.last().map(folded),
        Expr::Function(function) => last(&function.name).map(|name| name.value.to_ascii_lowercase()),
        Expr::Cast { expr, data_type, .. } => {
            let of_type = || data_type.to_string().rsplit('.').next().map(str::to_ascii_lowercase);
            name_of(expr).or_else(of_type)
        }
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => name_of(inner),
        Expr::Case { else_result, .. } => else_result.as_deref().and_then(name_of).or_else(|| Some("case".to_owned())),
        Expr::Extract { .. } => Some("extract".to_owned()),
        Expr::Exists { .. } => Some("exists".to_owned()),
        Expr::Array(_) => Some("array".to_owned()),
        Expr::Floor { .. } => Some("floor".to_owned()),
        Expr::Ceil { .. } => Some("ceil".to_owned()),
        Expr::Substring { .. } => Some("substring".to_owned()),
        Expr::Trim { .. } => Some("btrim".to_owned()),
        Expr::Position { .. } => Some("position".to_owned()),
        _ => None,
    }
}

/// A name as it counts: in small letters, unless it is quoted.
fn folded(name: &Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() }
}

/// Gives columns that read the same (`SELECT NULL, NULL`) names of their own: the engine tells columns apart by them, and
/// PostgreSQL does not.
fn name_twins(select: &mut Select) {
    let all = select.projection.iter().any(|item| matches!(item, SelectItem::Wildcard(_)));
    let wild = |item: &SelectItem| match item {
        SelectItem::QualifiedWildcard(ast::SelectItemQualifiedWildcardKind::ObjectName(of), _) => Some(of.to_string()),
        _ => None,
    };
    let wild: Vec<String> = select.projection.iter().filter_map(wild).collect();
    let mut seen = std::collections::HashSet::new();
    for (number, item) in select.projection.iter_mut().enumerate() {
        let SelectItem::UnnamedExpr(expression) = item else { continue };
        // To the engine a cast has the name of what is cast.
        let mut named = &*expression;
        while let Expr::Cast { expr, .. } | Expr::Nested(expr) = named {
            named = expr;
        }
        let in_wild = match named {
            Expr::Identifier(_) => all,
            Expr::CompoundIdentifier(path) => {
                let of: Vec<String> = path.iter().rev().skip(1).rev().map(ToString::to_string).collect();
                all || wild.contains(&of.join("."))
            }
            _ => false,
        };
        if seen.insert(named.to_string()) && !in_wild {
            continue;
        }
        let alias = Ident::with_quote('"', format!("column {}", number + 1));
        *item = SelectItem::ExprWithAlias { expr: expression.clone(), alias };
    }
}

struct Adapter<'a> {
    asker: &'a Asker<'a>,
    parameters: Parameters,
    /// The statement asks of the catalogue alone.
    of_catalogue: bool,
}

/// Whether a statement names relations of the catalogue alone, and gives no name to a query of its own.
fn is_of_catalogue(statement: &ast::Statement) -> bool {
    if let ast::Statement::Query(query) = statement
        && query.with.is_some()
    {
        return false;
    }
    let others = ast::visit_relations(statement, |relation| {
        let is = match relation.0.as_slice() {
            [.., schema, _] => schema
                .as_ident()
                .is_some_and(|schema| [PG_CATALOG, "information_schema"].contains(&folded(schema).as_str())),
            [ObjectNamePart::Identifier(name)] => {
                // Functions in the place of a relation.
                has_relation(&name.value) || ["generate_series", "unnest"].contains(&folded(name).as_str())
            }
            _ => false,
        };
        if is { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    others.is_continue()
}

impl VisitorMut for Adapter<'_> {
    type Break = ();

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        name_twins(select);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        if !self.of_catalogue {
            return ControlFlow::Continue(());
        }
        let known = match expression {
            // Grafana and others look for the schemas of the search path in a way that few engines read.
            Expr::InSubquery { expr, subquery, negated }
                if subquery.to_string().contains("current_setting('search_path')") =>
            {
                Some(Expr::InList { expr: expr.clone(), list: vec![text(SCHEMA)], negated: *negated })
            }
            Expr::InSubquery { subquery, negated, .. } if is_empty(subquery) => Some(boolean(*negated)),
            Expr::Exists { subquery, negated } if is_empty(subquery) => Some(boolean(*negated)),
            Expr::Subquery(query) if is_empty(query) => Some(null()),
            Expr::Function(Function { name, args: FunctionArguments::Subquery(query), .. })
                if is_empty(query) && last(name).is_some_and(|name| name.value.eq_ignore_ascii_case("array")) =>
            {
                Some(cast_to(null(), array_of(DataType::Text)))
            }
            _ => None,
        };
        if let Some(known) = known {
            *expression = known;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        // So does the driver for Java, to number them.
        if !self.of_catalogue {
            return ControlFlow::Continue(());
        }
        if let TableFactor::Derived { subquery, .. } = factor
            && let SetExpr::Select(select) = subquery.body.as_ref()
            && let [TableWithJoins { relation: TableFactor::Table { name, args: Some(args), .. }, .. }] =
                select.from.as_slice()
            && last(name).is_some_and(|name| name.value == "generate_series")
            && args.args.iter().any(|argument| argument.to_string().contains("current_schemas("))
            && let Ok((Statement::Statement(first), _)) = parse(&format!("SELECT 1 AS r, '{SCHEMA}' AS nspname"))
            && let ast::Statement::Query(first) = *first
        {
            *subquery = first;
        }
        // `pg_get_keywords()` and the like: relations that are written as calls.
        if let TableFactor::Table { name, args, .. } = factor
            && args.as_ref().is_some_and(|args| args.args.is_empty())
            && last(name).is_some_and(|name| has_relation(&name.value))
        {
            *args = None;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<()> {
        // PostgreSQL looks into its catalogue before anywhere else.
        if self.of_catalogue
            && let [ObjectNamePart::Identifier(name)] = relation.0.as_slice()
            && name.value.starts_with("pg_")
            && has_relation(&name.value)
        {
            relation.0.insert(0, ObjectNamePart::Identifier(Ident::new(PG_CATALOG)));
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        if let Some(better) = self.replacement(expression) {
            *expression = better;
        }
        ControlFlow::Continue(())
    }
}

impl Adapter<'_> {
    fn replacement(&mut self, expression: &mut Expr) -> Option<Expr> {
        match expression {
            Expr::Function(function) => self.function(function),
            // A function that is called without brackets.
            Expr::Identifier(name) if name.quote_style.is_none() && folded(name) == "current_schema" => {
                Some(call("current_schema", Vec::new()))
            }
            Expr::Cast { expr, data_type, .. } => cast(expr, data_type, self.of_catalogue),
            Expr::Collate { expr, .. } if self.of_catalogue => Some(expr.as_ref().clone()),
            Expr::BinaryOp { op, .. } => {
                if let BinaryOperator::PGCustomBinaryOperator(path) = op
                    && let Some(plain) = path.last().and_then(|name| operator(name))
                {
                    *op = plain;
                }
                None
            }
            Expr::Subquery(query) if self.of_catalogue => {
                at_most_one(query);
                None
            }
            // Of other comparisons the type decides what is greater: it has to be said.
            Expr::AnyOp { right, compare_op: BinaryOperator::Eq, .. } => {
                self.array(right);
                None
            }
            // The engine escapes with a backslash only.
            Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. } if self.of_catalogue => {
                let escape = escape_char.take()?.value.into_string()?;
                if escape != "\\" && !escape.is_empty() {
                    let plain = call("replace", vec![pattern.as_ref().clone(), text("\\"), text("\\\\")]);
                    **pattern = call("replace", vec![plain, text(&escape), text("\\")]);
                }
                None
            }
            _ => None,
        }
    }

    /// A parameter in the place of an array: the engine would take it for one of its elements.
    fn array(&mut self, expression: &mut Expr) {
        let Expr::Value(value) = &*expression else { return };
        let Some(number) = parameter(&value.value) else { return };
        let given = self.asker.types.get(number).and_then(|oid| ColumnType::from_oid(*oid));
        if given.is_none() {
            self.parameters.arrays.push(number);
        }
        let element = match given.map(|given| given.of) {
            Some(types::INT2) => DataType::SmallInt(None),
            Some(types::INT4) => DataType::Integer(None),
            Some(types::INT8 | types::OID) => DataType::BigInt(None),
            Some(types::FLOAT8) => DataType::Double(ast::ExactNumberInfo::None),
            _ => DataType::Text,
        };
        *expression = cast_to(expression.clone(), array_of(element));
    }

    fn function(&self, function: &mut Function) -> Option<Expr> {
        if let [ObjectNamePart::Identifier(schema), name] = function.name.0.as_slice()
            && schema.value.eq_ignore_ascii_case(PG_CATALOG)
        {
            function.name = ObjectName(vec![name.clone()]);
        }
        let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else { return None };
        match name.value.to_ascii_lowercase().as_str() {
            "current_user" | "session_user" | "user" | "current_role" => Some(text(self.asker.user)),
            "current_catalog" => {
                function.args = no_arguments();
                None
            }
            "pg_backend_pid" => Some(number(self.asker.process)),
            "current_setting" => {
                let FunctionArguments::List(list) = &function.args else { return None };
                let [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(name))), ..] = list.args.as_slice() else {
                    return None;
                };
                let name = name.value.clone().into_string()?;
                Some(self.asker.settings.get(&name).map_or_else(null, text))
            }
            "array" => match &function.args {
                FunctionArguments::Subquery(query) if self.of_catalogue => collected(query),
                _ => None,
            },
            _ => None,
        }
    }
}

/// The number of a parameter, counted from 0.
fn parameter(value: &Value) -> Option<usize> {
    let Value::Placeholder(name) = value else { return None };
    name.strip_prefix('$')?.parse::<usize>().ok()?.checked_sub(1)
}

/// A cast to a type that the engine does not have. Types that compare otherwise than text are text in the catalogue alone.
fn cast(inner: &Expr, data_type: &mut DataType, of_catalogue: bool) -> Option<Expr> {
    // The engine would take a text for an array of that one text.
    if let DataType::Array(_) = data_type
        && let Expr::Value(value) = inner
        && let Some(elements) = value.value.clone().into_string().as_deref().and_then(split_array)
    {
        let elements = elements.iter().map(|element| element.as_deref().map_or_else(null, text)).collect();
        let elements = Expr::Array(ast::Array { elem: elements, named: true });
        return Some(cast_to(elements, data_type.clone()));
    }
    let name = match data_type {
        DataType::Regclass => "regclass".to_owned(),
        DataType::Custom(name, _) => last(name)?.value.to_ascii_lowercase(),
        DataType::JSON | DataType::JSONB | DataType::Uuid if of_catalogue => "text".to_owned(),
        // To the engine an instant would be one of no time zone.
        DataType::Timestamp(None, ast::TimezoneInfo::Tz | ast::TimezoneInfo::WithTimeZone) => {
            let instants = text("Timestamp(Microsecond, Some(\"UTC\"))");
            return Some(call("arrow_cast", vec![inner.clone(), instants]));
        }
        _ => return None,
    };
    let literal = match inner {
        Expr::Value(value) => value.value.clone().into_string(),
        _ => None,
    };
    match name.as_str() {
        // A relation by its name is its number; one that is not there has none.
        "regclass" if literal.is_some() => {
            Some(literal.and_then(|name| relation_oid(bare(&name))).map_or_else(null, number))
        }
        "regclass" if matches!(inner, Expr::Value(value) if parameter(&value.value).is_some()) => {
            Some(call("to_regclass", vec![inner.clone()]))
        }
        "regtype" if literal.is_none() => Some(call("format_type", vec![inner.clone(), null()])),
        "oid" => {
            *data_type = DataType::BigInt(None);
            None
        }
        "regclass" | "regtype" | "regproc" | "regprocedure" | "regrole" | "regnamespace" | "name" | "char" | "text"
        | "varchar" | "bpchar" | "cstring" | "information_schema" | "sql_identifier" | "character_data" | "unknown" => {
            *data_type = DataType::Text;
            None
        }
        "citext" | "json" | "jsonb" | "uuid" if of_catalogue => {
            *data_type = DataType::Text;
            None
        }
        "int2" => retyped(data_type, DataType::SmallInt(None)),
        "int4" | "integer" | "xid" | "cardinal_number" => retyped(data_type, DataType::Integer(None)),
        "int8" => retyped(data_type, DataType::BigInt(None)),
        "float4" => retyped(data_type, DataType::Real),
        "float8" => retyped(data_type, DataType::Double(ast::ExactNumberInfo::None)),
        "bool" => retyped(data_type, DataType::Boolean),
        _ => None,
    }
}

fn cast_to(expression: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: ast::CastKind::Cast, expr: Box::new(expression), data_type, array: false, format: None }
}

fn array_of(element: DataType) -> DataType {
    DataType::Array(ast::ArrayElemTypeDef::SquareBracket(Box::new(element), None))
}

fn retyped(data_type: &mut DataType, to: DataType) -> Option<Expr> {
    *data_type = to;
    None
}

fn operator(name: &str) -> Option<BinaryOperator> {
    Some(match name {
        "~" => BinaryOperator::PGRegexMatch,
        "~*" => BinaryOperator::PGRegexIMatch,
        "!~" => BinaryOperator::PGRegexNotMatch,
        "!~*" => BinaryOperator::PGRegexNotIMatch,
        "~~" => BinaryOperator::PGLikeMatch,
        "~~*" => BinaryOperator::PGILikeMatch,
        "=" => BinaryOperator::Eq,
        "<>" => BinaryOperator::NotEq,
        "<" => BinaryOperator::Lt,
        ">" => BinaryOperator::Gt,
        "<=" => BinaryOperator::LtEq,
        ">=" => BinaryOperator::GtEq,
        "+" => BinaryOperator::Plus,
        "||" => BinaryOperator::StringConcat,
        _ => return None,
    })
}

/// Whether a query can have no rows, because it needs some of a relation that never has any.
fn is_empty(query: &Query) -> bool {
    set_is_empty(&query.body)
}

fn set_is_empty(body: &SetExpr) -> bool {
    match body {
        SetExpr::Query(query) => is_empty(query),
        SetExpr::SetOperation { op: SetOperator::Union, left, right, .. } => set_is_empty(left) && set_is_empty(right),
        SetExpr::SetOperation { left, .. } => set_is_empty(left),
        SetExpr::Select(select) => {
            let groups = matches!(&select.group_by, ast::GroupByExpr::Expressions(by, _) if by.is_empty());
            let aggregates = groups && select.projection.iter().any(aggregates);
            !aggregates && select.from.iter().any(join_is_empty)
        }
        _ => false,
    }
}

/// Whether an item makes one row of any number, also of none; what a subquery in it does is its own affair.
fn aggregates(item: &SelectItem) -> bool {
    struct Aggregates {
        depth: usize,
    }
    impl Visitor for Aggregates {
        type Break = ();

        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.depth += 1;
            ControlFlow::Continue(())
        }

        fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.depth -= 1;
            ControlFlow::Continue(())
        }

        fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
            const NAMES: [&str; 11] = [
                "count",
                "max",
                "min",
                "sum",
                "avg",
                "array_agg",
                "string_agg",
                "bool_and",
                "bool_or",
                "every",
                "first_value",
            ];
            match expression {
                Expr::Function(Function { name, .. })
                    if self.depth == 0 && last(name).is_some_and(|name| NAMES.contains(&folded(name).as_str())) =>
                {
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }
    Visit::visit(item, &mut Aggregates { depth: 0 }).is_break()
}

fn join_is_empty(from: &TableWithJoins) -> bool {
    let inner = |operator: &JoinOperator| {
        matches!(operator, JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_))
    };
    let keeps_left = |operator: &JoinOperator| {
        !matches!(operator, JoinOperator::RightOuter(_) | JoinOperator::Right(_) | JoinOperator::FullOuter(_))
    };
    let first = factor_is_empty(&from.relation) && from.joins.iter().all(|join| keeps_left(&join.join_operator));
    let later = from.joins.iter().all(|join| keeps_left(&join.join_operator))
        && from.joins.iter().any(|join| inner(&join.join_operator) && factor_is_empty(&join.relation));
    first || later
}

fn factor_is_empty(factor: &TableFactor) -> bool {
    match factor {
        // Arrays of the catalogue's rows are null.
        TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. }
            if name.to_string().eq_ignore_ascii_case("pg_catalog.unnest") =>
        {
            true
        }
        TableFactor::Table { name, .. } => {
            let in_catalogue = match name.0.as_slice() {
                [_] => true,
                [.., schema, _] => schema.as_ident().is_some_and(|schema| schema.value == PG_CATALOG),
                [] => false,
            };
            in_catalogue && last(name).is_some_and(|name| is_always_empty(&name.value))
        }
        TableFactor::Derived { subquery, .. } => is_empty(subquery),
        TableFactor::NestedJoin { table_with_joins, .. } => join_is_empty(table_with_joins),
        _ => false,
    }
}

/// A subquery in the place of a value has one row at most, or it is an error. The engine wants to see that it has; for the
/// catalogue's own relations, the greatest of at most one value is that value.
fn at_most_one(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    let of_catalogue = |from: &TableWithJoins| {
        let name = match &from.relation {
            TableFactor::Table { name, .. } => last(name),
            _ => None,
        };
        name.is_some_and(|name| has_relation(&name.value))
    };
    if select.from.is_empty() || !select.from.iter().all(of_catalogue) || query.limit_clause.is_some() {
        return;
    }
    if let [SelectItem::UnnamedExpr(value)] = select.projection.as_mut_slice()
        && !aggregates(&SelectItem::UnnamedExpr(value.clone()))
    {
        *value = call("max", vec![value.clone()]);
    }
}

/// `ARRAY(SELECT x ...)` as `(SELECT array_agg(x) ...)`.
fn collected(query: &Query) -> Option<Expr> {
    let mut query = query.clone();
    query.order_by = None;
    let SetExpr::Select(select) = query.body.as_mut() else { return None };
    let [SelectItem::UnnamedExpr(value)] = select.projection.as_mut_slice() else { return None };
    *value = call("array_agg", vec![value.clone()]);
    Some(Expr::Subquery(Box::new(query)))
}

fn last(name: &ObjectName) -> Option<&Ident> {
    name.0.last().and_then(ObjectNamePart::as_ident)
}

fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    let args = arguments.into_iter().map(|argument| FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))).collect();
    let FunctionArguments::List(list) = no_arguments() else { return null() };
    Expr::Function(Function {
        name: ObjectName::from(Ident::new(name)),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { args, ..list }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

fn no_arguments() -> FunctionArguments {
    FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args: Vec::new(), clauses: Vec::new() })
}

fn literal(value: Value) -> Expr {
    Expr::Value(value.with_span(Span::empty()))
}

fn null() -> Expr {
    literal(Value::Null)
}

fn text(text: &str) -> Expr {
    literal(Value::SingleQuotedString(text.to_owned()))
}

fn number(number: i32) -> Expr {
    literal(Value::Number(number.to_string(), false))
}

fn boolean(value: bool) -> Expr {
    literal(Value::Boolean(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapted(sql: &str) -> String {
        let settings = Settings::new("ann", None);
        let (mut statement, _) = parse(sql).unwrap();
        adapt(&mut statement, &Asker { user: "ann", process: 7, settings: &settings, types: &[] });
        statement.to_string()
    }

    #[test]
    fn what_names_the_ledger_keeps_its_meaning() {
        for sql in [
            "SELECT 1 FROM events WHERE EXISTS (SELECT 1 FROM pg_index)",
            "SELECT (SELECT actor FROM pg_class JOIN events ON true)",
            "SELECT ARRAY(SELECT x FROM events ORDER BY x LIMIT 3)",
            "SELECT 1 FROM events WHERE a LIKE 'a//b' ESCAPE '/'",
            "WITH pg_stats AS (SELECT count(*) AS n FROM events) SELECT n FROM pg_stats",
            "SELECT 1 FROM events WHERE n > ANY($1)",
            "SELECT a::citext FROM events",
            "SELECT 1 FROM events WHERE a IN (SELECT b FROM records WHERE c LIKE '%current_setting(''search_path'')%')",
            "SELECT 1 FROM events WHERE a IN (SELECT x FROM pg_catalog.unnest(ARRAY['a']) AS t (x))",
        ] {
            assert_eq!(adapted(sql), parse(sql).unwrap().0.to_string());
            assert_eq!(known_to_be_empty(&parse(sql).unwrap().0), None, "{sql}");
        }
    }

    #[test]
    fn what_only_postgresql_reads_is_said_otherwise() {
        for (sql, expected) in [
            ("SELECT pg_catalog.version()", "SELECT version()"),
            ("SELECT oid FROM pg_class", "SELECT oid FROM pg_catalog.pg_class"),
            ("SELECT 'pg_class' FROM pg_mine", "SELECT 'pg_class' FROM pg_mine"),
            ("SELECT current_user, pg_backend_pid()", "SELECT 'ann', 7"),
            ("SELECT current_schema", "SELECT current_schema()"),
            ("SELECT 'ledger.records'::regclass", "SELECT 16384"),
            ("SELECT a::pg_catalog.name FROM t", "SELECT a::TEXT FROM t"),
            ("SELECT 1 WHERE a OPERATOR(pg_catalog.~) 'x' COLLATE pg_catalog.default", "SELECT 1 WHERE a ~ 'x'"),
            (
                "SELECT (SELECT adbin FROM pg_attrdef d WHERE d.adrelid = a.oid) FROM pg_class a",
                "SELECT NULL FROM pg_catalog.pg_class a",
            ),
            (
                "SELECT 1 FROM pg_class WHERE EXISTS (SELECT 1 FROM pg_index)",
                "SELECT 1 FROM pg_catalog.pg_class WHERE false",
            ),
            ("SELECT (SELECT count(*) FROM pg_index)", "SELECT (SELECT count(*) FROM pg_catalog.pg_index)"),
            (
                "SELECT (SELECT typname FROM pg_type t WHERE t.oid = a.oid) FROM pg_class a",
                "SELECT (SELECT max(typname) FROM pg_catalog.pg_type t WHERE t.oid = a.oid) FROM pg_catalog.pg_class a",
            ),
            ("SELECT NULL, NULL", "SELECT NULL, NULL AS column 2"),
            ("SELECT t.a, t.* FROM t", "SELECT t.a AS column 1, t.* FROM t"),
            ("SELECT 1 WHERE a = ANY('{x,y z}'::text[])", "SELECT 1 WHERE a = ANY(CAST(ARRAY['x', 'y z'] AS TEXT[]))"),
            ("SELECT 1 WHERE a = ANY($1)", "SELECT 1 WHERE a = ANY(CAST($1 AS TEXT[]))"),
            ("SELECT ARRAY(SELECT x FROM pg_class)", "SELECT (SELECT array_agg(x) FROM pg_catalog.pg_class)"),
            (
                "SELECT 1 WHERE a LIKE b ESCAPE '/'",
                "SELECT 1 WHERE a LIKE replace(replace(b, '\\', '\\\\'), '/', '\\')",
            ),
        ] {
            assert_eq!(adapted(sql).replace('"', ""), expected, "{sql}");
        }
    }

    #[test]
    fn columns_have_the_names_of_postgresql() {
        let named = |sql: &str, engine: &[&str]| {
            names(&parse(sql).unwrap().0).of(engine.iter().map(|name| (*name).to_owned()).collect()).join(",")
        };
        assert_eq!(named("SELECT count(*), a.B::date, 1, x AS y", &["a", "b", "c", "y"]), "count,b,?column?,y");
        assert_eq!(named("SELECT max(a), t.*, min(b) FROM t", &["1", "c", "d", "2"]), "max,c,d,min");
        assert_eq!(named("SELECT *, *", &["a", "b"]), "a,b");
        assert_eq!(named("SHOW TABLES", &["a"]), "a");
    }

    #[test]
    fn only_what_cannot_have_rows_is_said_to_have_none() {
        let empty = |sql: &str| known_to_be_empty(&parse(sql).unwrap().0).is_some();
        for sql in [
            "SELECT indexrelid FROM pg_catalog.pg_index",
            "SELECT c.oid AS a, i.indkey FROM pg_class c JOIN pg_index i ON c.oid = i.indrelid",
            "SELECT 1 FROM pg_constraint LEFT JOIN pg_class c ON true",
            "SELECT 1 FROM pg_trigger UNION ALL SELECT 2 FROM pg_policy",
            "SELECT x FROM (SELECT 1 AS x FROM pg_proc) AS p",
        ] {
            assert!(empty(sql), "{sql}");
        }
        for sql in [
            "SELECT 1 FROM pg_class c LEFT JOIN pg_index i ON true",
            "SELECT 1 FROM pg_index i RIGHT JOIN pg_class c ON true",
            "SELECT count(*) FROM pg_index",
            "SELECT 1 FROM events",
            "SELECT 1 FROM ledger.pg_index",
            "SELECT 1 FROM pg_trigger UNION ALL SELECT 2 FROM pg_class",
        ] {
            assert!(!empty(sql), "{sql}");
        }
    }
}
