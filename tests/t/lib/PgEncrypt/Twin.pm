package PgEncrypt::Twin;

=head1 NAME

PgEncrypt::Twin - a table and a plain twin of it, which every transaction writes too

=head1 SYNOPSIS

  use PgEncrypt::Twin;

  make_twin($node, rows => 6000);
  is(write_both($node, 500), undef, 'the application can write');
  is_twin($node, 'after the write');

Table and twin are written in the same transactions, so they are equal in every snapshot, whatever fails; so is, from the end of the
backfill on, the table that a migration keeps in step.

=cut

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use PgEncrypt::Test;
use Test::More;

our @EXPORT = qw(make_twin write_both differences is_twin phase migration);

my $next = 100_000;

=head1 FUNCTIONS

All of them take C<dbname>, C<postgres> if left out.

=head2 make_twin(NODE, [rows => NUMBER,])

The key k, and the tables branch, account and twin.

=cut

sub make_twin
{
	my ($node, %options) = @_;
	my $rows = $options{rows} // 6000;
	$node->safe_psql($options{dbname} // 'postgres', qq{
		select encrypt.create_key('k');
		create table branch (id integer primary key);
		insert into branch values (1), (2);
		create table account (id integer primary key, email text not null unique, note text, branch integer references branch);
		create view emails as select id, email from account;
		-- Not in the tablespace of its database: where that has no room, the twin has.
		create table twin (id integer primary key, email text not null, note text, branch integer) tablespace pg_default;
		insert into account select i, 'user' || i, repeat('x', 300), 1 from generate_series(1, $rows) i;
		insert into twin select * from account;
		analyze;
	});
	return;
}

=head2 write_both(NODE, ROWS)

A transaction that inserts so many rows, changes and deletes some. Its SQLSTATE, undef if it succeeded, 'gone' if the server
went away.

=cut

sub write_both
{
	my ($node, $rows, %options) = @_;
	my $first = $next += 10_000;
	my $last  = $first + $rows - 1;
	my $sql   = 'begin;';
	for my $table ('account', 'twin')
	{
		$sql .= qq{
			insert into $table select i, 'new' || i, repeat('y', 300), 2 from generate_series($first, $last) i;
			update $table set email = 'changed' || $first || '-' || id, note = repeat('z', 200) where id % 5987 = $first % 5987;
			delete from $table where id % 5981 = $first % 5981;};
	}
	my ($status, undef, $said) = eval {
		$node->psql($options{dbname} // 'postgres', "$sql commit;", on_error_stop => 1, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	};
	# A psql that finds no server is gone before it has read what it should run.
	return 'gone' if $@ =~ /Broken pipe/;
	die $@ if $@;
	return $status == 0 ? undef : sqlstate($said) // 'gone';
}

=head2 differences(NODE, TABLE)

How many rows of the table are not those of its twin.

=cut

sub differences
{
	my ($node, $table, %options) = @_;
	return $node->safe_psql($options{dbname} // 'postgres', qq{
		select count(*) from (select id, email::text, note::text, branch from $table) a full join twin t using (id)
		where (a.email, a.note, a.branch) is distinct from (t.email, t.note, t.branch)});
}

=head2 phase(NODE), migration(NODE)

Phase and number of the last migration.

=cut

sub phase
{
	my ($node, %options) = @_;
	return $node->safe_psql($options{dbname} // 'postgres', 'select phase from encrypt.migrations order by migration_id desc limit 1');
}

sub migration
{
	my ($node, %options) = @_;
	return $node->safe_psql($options{dbname} // 'postgres', 'select max(migration_id) from encrypt.migrations');
}

=head2 is_twin(NODE, WHEN)

Passes if the table equals its twin and, where all rows are copied, so does its counterpart.

=cut

sub is_twin
{
	my ($node, $when, %options) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($phase, $shadow) = split /\|/, $node->safe_psql($options{dbname} // 'postgres',
		'select phase, shadow from encrypt.migrations order by migration_id desc limit 1') || '|';
	for my $table ('account', ($phase // '') =~ /^(backfilled|verified|cut_over)$/ ? $shadow : ())
	{
		is(differences($node, $table, %options), '0', "$table equals its twin $when");
	}
	return;
}

1;
